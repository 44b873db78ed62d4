package managedidtest

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"syscall"
)

// usualHeader returns the headers that an endpoint sends with every answer. Those of IMDS and Entra are recorded. Those
// of App Service are from github.com/Azure/azure-sdk-for-net issue 43691.
func usualHeader(endpoint Endpoint) http.Header {
	h := http.Header{"Content-Type": {"application/json; charset=utf-8"}}
	switch endpoint {
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

// jsonAnswer returns an answer with the body v. The body has no HTML escapes and no trailing newline.
func jsonAnswer(status int, endpoint Endpoint, v any) answer {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("managedidtest: " + err.Error()) // every v is a struct of strings, integers and the like
	}
	return answer{status: status, header: usualHeader(endpoint), body: bytes.TrimSuffix(b.Bytes(), []byte("\n"))}
}

// emptyAnswer returns an answer without a body.
func emptyAnswer(status int, endpoint Endpoint) answer {
	a := answer{status: status, header: usualHeader(endpoint)}
	a.header.Del("Content-Type")
	return a
}

// notGET returns a as the answer to a method other than GET.
func notGET(a answer) answer { return notAllowed(http.MethodGet, a) }

// notAllowed returns a with the Allow header set.
func notAllowed(allowed string, a answer) answer {
	a.header.Set("Allow", allowed)
	return a
}

// connError returns the error of a system call on a connection in the form that package net uses.
func connError(op, call string, r *http.Request, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: "tcp", Addr: address(r.URL.Host), Err: os.NewSyscallError(call, errno)}
}

// address implements [net.Addr].
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
