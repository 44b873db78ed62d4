package lab

import (
	"context"
	"net"

	"github.com/managedid/managedid/examples/azuresdk/internal/tds"
)

// SQL starts a responder in the place of Azure SQL. It takes every identity of the tenant for a user.
func (l *Lab) SQL() error {
	listener, err := l.listenTLS(tds.Protocol)
	if err != nil {
		return err
	}
	l.serve(listener, func(ctx context.Context, conn net.Conn) {
		tds.Serve(conn, func(token string) error {
			_, err := l.verify(ctx, token, "https://database.windows.net")
			if err != nil { // Entra has the resource under both names
				_, err = l.verify(ctx, token, "https://database.windows.net/")
			}
			return err
		})
	})
	l.Setenv("AZURE_SQL_URL", "sqlserver://"+listener.Addr().String()+"?database=lab&encrypt=strict")
	return nil
}
