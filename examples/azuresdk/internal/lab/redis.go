package lab

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/managedid/managedid/examples/azuresdk/internal/resp"
)

// Redis starts a Redis server, which has each identity as a user, and before it what checks their tokens.
func (l *Lab) Redis() error {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return &MissingError{"redis-server is not installed; on Debian: apt-get install --no-install-recommends redis-server"}
	}
	socket, password := filepath.Join(l.dir, "redis.sock"), rand.Text()
	config := []string{"port 0", "unixsocket " + socket, "unixsocketperm 700", "dir " + l.dir, `save ""`, "user default off"}
	for _, p := range l.principals() {
		config = append(config, "user "+p.objectID+" on >"+password+" ~* &* +@all")
	}
	file := filepath.Join(l.dir, "redis.conf")
	if err := os.WriteFile(file, []byte(strings.Join(config, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	ready := func() error {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
		}
		return err
	}
	if err := l.Run(ready, program, file); err != nil {
		return err
	}
	listener, err := l.listenTLS()
	if err != nil {
		return err
	}
	l.serve(listener, func(ctx context.Context, conn net.Conn) { l.serveRedis(ctx, conn, socket, password) })
	l.Setenv("REDIS_ADDR", listener.Addr().String())
	l.Setenv("REDIS_OBJECT_ID", l.principals()[0].objectID)
	return nil
}

// serveRedis forwards one connection. A user's good token becomes the password that Redis knows, so that Redis does all the
// rest; any other is left for Redis to refuse. The connection ends with the last good token.
func (l *Lab) serveRedis(ctx context.Context, client net.Conn, socket, password string) {
	server, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		defer client.Close()
		io.Copy(client, server)
	}()
	end := time.AfterFunc(time.Hour, func() { client.Close() })
	defer end.Stop()
	resp.Forward(server, client, func(user, token string) string {
		claims, err := l.verify(ctx, token, "https://redis.azure.com")
		if err != nil || claims.ObjectID != user {
			return token
		}
		end.Reset(l.remaining(claims))
		return password
	})
}
