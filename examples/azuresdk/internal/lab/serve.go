package lab

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
)

// serve has a function answer each connection, whose context ends with the lab. The connection is closed when it returns.
func (l *Lab) serve(listener net.Listener, handle func(context.Context, net.Conn)) {
	ctx, end := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				handle(ctx, conn)
			})
		}
	})
	l.onClose(func() error {
		err := listener.Close()
		end()
		work.Wait()
		return err
	})
}

// listenTLS listens on any free port, with a certificate of the lab's.
func (l *Lab) listenTLS(protocols ...string) (net.Listener, error) {
	cert, key, err := l.Certificate()
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	return tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: protocols})
}
