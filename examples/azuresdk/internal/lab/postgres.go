package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/managedid/managedid/examples/azuresdk/internal/ldap"
)

// passwordRole logs in with the secret of KeyVault, not with a token.
const passwordRole = "lab-password"

// Postgres starts a PostgreSQL server, and the directory that it asks about tokens. Each identity has a role.
func (l *Lab) Postgres() error {
	bin, err := postgresPrograms()
	if err != nil {
		return err
	}
	directory, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	l.serve(directory, func(ctx context.Context, conn net.Conn) {
		ldap.Serve(conn, func(name, token string) error { return l.checkRole(ctx, strings.TrimPrefix(name, "cn="), token) })
	})
	port, err := freePort()
	if err != nil {
		return err
	}
	c := cluster{lab: l, bin: bin, port: port, password: rand.Text()}
	if err := c.start(directory.Addr().(*net.TCPAddr).Port); err != nil {
		return err
	}
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "PG") { // for another server
			l.Setenv(name, "")
		}
	}
	l.Setenv("PGHOST", "127.0.0.1")
	l.Setenv("PGPORT", port)
	l.Setenv("PGDATABASE", "postgres")
	l.Setenv("PGUSER", l.principals()[0].name)
	l.Setenv("PGSSLMODE", "verify-full")
	l.Setenv("DATABASE_URL", "postgres://"+passwordRole+"@127.0.0.1:"+port+"/postgres?sslmode=verify-full")
	return nil
}

// ConnectionString starts a Key Vault that has the password of a role, and the PostgreSQL server that has the role.
func (l *Lab) ConnectionString() error {
	if err := l.KeyVault(); err != nil {
		return err
	}
	return l.Postgres()
}

// checkRole decides about a role's token, as the bridge to Entra in Azure's server does.
func (l *Lab) checkRole(ctx context.Context, role, token string) error {
	claims, err := l.verify(ctx, token, "https://ossrdbms-aad.database.windows.net")
	if err != nil {
		return err
	}
	for _, p := range l.principals() {
		if p.name == role && p.objectID == claims.ObjectID {
			return nil
		}
	}
	return errors.New("lab: the token is another role's")
}

// postgresPrograms returns the directory of PostgreSQL's programs, which Debian has outside PATH.
func postgresPrograms() (string, error) {
	if program, err := exec.LookPath("initdb"); err == nil {
		if program, err = filepath.EvalSymlinks(program); err == nil {
			return filepath.Dir(program), nil
		}
	}
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(installed) == 0 {
		return "", &MissingError{"PostgreSQL is not installed; on Debian: apt-get install --no-install-recommends postgresql"}
	}
	return filepath.Dir(installed[len(installed)-1]), nil
}
