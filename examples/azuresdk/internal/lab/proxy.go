package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

// proxy answers CONNECT (RFC 9110, section 9.3.6) for host names that it knows, whatever their port, and refuses all others.
type proxy struct {
	url      string
	listener net.Listener
	running  context.Context
	end      context.CancelFunc
	work     sync.WaitGroup

	mu     sync.Mutex // guards routes
	routes map[string]string
}

func startProxy() (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{url: "http://" + l.Addr().String(), listener: l, routes: map[string]string{}}
	p.running, p.end = context.WithCancel(context.Background())
	p.work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.work.Go(func() { p.serve(conn) })
		}
	})
	return p, nil
}

func (p *proxy) close() error {
	err := p.listener.Close()
	p.end()
	p.work.Wait()
	return err
}

func (p *proxy) route(host, addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.routes[strings.ToLower(host)] = addr
}

// leads returns the address of a host and port.
func (p *proxy) leads(hostport string) (addr string, known bool) {
	host, _, _ := net.SplitHostPort(hostport)
	p.mu.Lock()
	defer p.mu.Unlock()
	addr, known = p.routes[strings.ToLower(host)]
	return addr, known
}

// serve answers one connection's request.
func (p *proxy) serve(client net.Conn) {
	defer p.closing(client)()
	from := bufio.NewReader(client)
	r, err := http.ReadRequest(from)
	if err != nil {
		return
	}
	addr, known := p.leads(r.Host)
	if r.Method != http.MethodConnect || !known {
		fmt.Fprintf(client, "HTTP/1.1 403 The lab knows no such host\r\nContent-Length: 0\r\n\r\n")
		return
	}
	server, err := net.Dial("tcp", addr)
	if err != nil {
		fmt.Fprintf(client, "HTTP/1.1 502 The host's server is down\r\nContent-Length: 0\r\n\r\n")
		return
	}
	done := p.closing(server)
	defer done()
	fmt.Fprintf(client, "HTTP/1.1 200 Connection established\r\n\r\n")
	p.work.Go(func() {
		defer done()
		io.Copy(server, from)
	})
	io.Copy(client, server)
}

// closing returns a function that closes a connection, which the proxy's end does too.
func (p *proxy) closing(c net.Conn) func() {
	stop := context.AfterFunc(p.running, func() { c.Close() })
	return func() { stop(); c.Close() }
}
