package managedidtest

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"syscall"
)

// usualHeader returns the headers that an endpoint sends with every answer: recorded for IMDS and Entra, from
// github.com/Azure/azure-sdk-for-net issue 43691 for App Service.
func usualHeader(of Endpoint) http.Header {
	h := http.Header{"Content-Type": {"application/json; charset=utf-8"}}
	switch of {
	case IMDS:
		h.Set("Server", "IMDS/150.870.65.1475")
		h.Set("X-Ms-Request-Id", newGUID())
	case AppService:
		h.Set("Server", "Kestrel")
	case Entra:
		h.Set("Cache-Control", "no-store, no-cache")
		h.Set("Expires", "-1")
		h.Set("Pragma", "no-cache")
		entraHeader(h)
	case Discovery:
		h.Set("Cache-Control", "max-age=86400, private")
		entraHeader(h)
	}
	return h
}

func entraHeader(h http.Header) {
	h.Set("P3P", `CP="DSP CUR OTPi IND OTRi ONL FIN"`)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Ms-Ests-Server", "2.1.15049.4 - EUS ProdSlices")
	h.Set("X-Ms-Request-Id", newGUID())
}

// jsonAnswer has v as its body, without escapes for HTML and without a newline at the end.
func jsonAnswer(status int, of Endpoint, v any) answer {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("managedidtest: " + err.Error()) // all v are structs of strings, integers and the like
	}
	return answer{status: status, header: usualHeader(of), body: bytes.TrimSuffix(b.Bytes(), []byte("\n"))}
}

// emptyAnswer has no body.
func emptyAnswer(status int, of Endpoint) answer {
	a := answer{status: status, header: usualHeader(of)}
	a.header.Del("Content-Type")
	return a
}

// notGET is the answer to a method other than GET, with the body of a or none.
func notGET(a answer) answer { return notAllowed(http.MethodGet, a) }

func notAllowed(allowed string, a answer) answer {
	a.header.Set("Allow", allowed)
	return a
}

// connError is the error of a system call on a connection, as package net returns it.
func connError(op, call string, r *http.Request, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: "tcp", Addr: address(r.URL.Host), Err: os.NewSyscallError(call, errno)}
}

// address is a [net.Addr].
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
