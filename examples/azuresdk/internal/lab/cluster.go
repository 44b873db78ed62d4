package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
)

// nobody is the user that PostgreSQL runs as where this process is root's, as which it refuses to run.
const nobody = 65534

// cluster is a PostgreSQL server with its databases.
type cluster struct {
	lab       *Lab
	bin, port string
	password  string // the superuser's
}

// start makes a cluster with all roles, and starts it. The directory, at a port of loopback, decides about the passwords of
// the identities' roles.
func (c *cluster) start(directory int) error {
	dir := filepath.Join(c.lab.dir, "postgres")
	data, passwords, hba := filepath.Join(dir, "data"), filepath.Join(dir, "password"), filepath.Join(dir, "pg_hba.conf")
	cert, key, err := c.lab.Certificate()
	if err != nil {
		return err
	}
	rules := fmt.Sprintf(`hostssl all postgres 127.0.0.1/32 scram-sha-256
hostssl all %s 127.0.0.1/32 scram-sha-256
hostssl all all 127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapport=%d ldapprefix="cn=" ldapsuffix=""
`, passwordRole, directory)
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(passwords, []byte(c.password), 0o600), os.WriteFile(hba, []byte(rules), 0o600),
		own(dir, passwords, hba, filepath.Dir(key), cert, key)); err != nil {
		return err
	}
	initdb := c.command("initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", passwords, "-E", "UTF8", "--locale", "C", "-N")
	if out, err := exec.Command(initdb[0], initdb[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("lab: initdb: %w: %s", err, out)
	}
	server := c.command("postgres", "-D", data, "-h", "127.0.0.1", "-p", c.port, "-k", "", "-F", // without Unix sockets and fsync
		"-c", "hba_file="+hba, "-c", "ssl=on", "-c", "ssl_cert_file="+cert, "-c", "ssl_key_file="+key)
	return c.lab.Run(c.createRoles, server[0], server[1:]...)
}

// command returns the command line of one of PostgreSQL's programs.
func (c *cluster) command(name string, args ...string) []string {
	all := append([]string{filepath.Join(c.bin, name)}, args...)
	if os.Geteuid() == 0 {
		id := fmt.Sprint(nobody)
		all = append([]string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups"}, all...)
	}
	return all
}

// own gives files to the user of PostgreSQL, which takes no key that another may read.
func own(files ...string) (err error) {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, f := range files {
		err = errors.Join(err, os.Chown(f, nobody, nobody))
	}
	return err
}

// createRoles gives each identity a role without a password, and one a password.
func (c *cluster) createRoles() error {
	ctx := context.Background()
	config, err := pgx.ParseConfig("postgres://postgres@127.0.0.1:" + c.port + "/postgres?sslmode=verify-full")
	if err != nil {
		return err
	}
	config.Password = c.password
	config.TLSConfig = &tls.Config{ServerName: "127.0.0.1", RootCAs: x509.NewCertPool()}
	config.TLSConfig.RootCAs.AddCert(c.lab.authority.certificate)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	roles := []string{"CREATE ROLE " + pgx.Identifier{passwordRole}.Sanitize() + " LOGIN PASSWORD '" + secretValue + "'"}
	for _, p := range c.lab.principals() {
		roles = append(roles, "CREATE ROLE "+pgx.Identifier{p.name}.Sanitize()+" LOGIN")
	}
	_, err = conn.PgConn().Exec(ctx, strings.Join(roles, ";")).ReadAll() // in one transaction
	return err
}
