package managedidtest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// delivery says how a body is sent under a fault. The zero delivery sends it normally.
type delivery struct {
	pace   time.Duration
	length int64
	cut    int
	reset  bool
}

// errCut means that the body ends too early.
var errCut = errors.New("body cut")

func (f *Fault) delivery() delivery { return delivery{f.Pace, f.Length, f.Cut, f.Reset} }

// reader returns a reader of the part of the body that is sent. It ends with io.EOF, errCut or errReset.
func (a answer) reader(ctx context.Context) io.Reader {
	body, end := a.body, io.EOF
	if a.cut > 0 && a.cut < len(body) {
		body, end = body[:a.cut], errCut
	}
	if a.reset {
		end = errReset
	}
	return &pacedReader{ctx: ctx, body: body, pace: a.pace, end: end}
}

// announced returns the value of Content-Length, or "" if there is none.
func (a answer) announced() string {
	n := cmp.Or(a.length, int64(len(a.body)))
	if n < 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// pacedReader reads body with a pause of pace before each byte. It then returns end.
type pacedReader struct {
	ctx  context.Context
	body []byte
	pace time.Duration
	end  error
}

func (r *pacedReader) Read(p []byte) (int, error) {
	switch {
	case len(r.body) == 0:
		return 0, r.end
	case r.pace > 0 && len(p) > 0:
		p = p[:1]
	}
	if err := wait(r.ctx, r.pace); err != nil {
		return 0, err
	}
	n := copy(p, r.body)
	r.body = r.body[n:]
	return n, nil
}

// send writes the answer to a connection.
func (a answer) send(w http.ResponseWriter, r *http.Request) {
	// net/http must not guess a Content-Type.
	w.Header()["Content-Type"] = nil
	maps.Copy(w.Header(), a.header)
	if n := a.announced(); n != "" {
		w.Header().Set("Content-Length", n)
	}
	w.WriteHeader(a.status)
	if a.delivery == (delivery{}) {
		w.Write(a.body)
		return
	}
	out, body, surplus := http.NewResponseController(w), a.reader(r.Context()), 0 < a.length &&
		a.length < int64(len(a.body))
	if surplus {
		body = io.LimitReader(body, a.length)
	}
	sent := writerFunc(func(p []byte) (int, error) {
		n, err := w.Write(p)
		return n, errors.Join(err, out.Flush())
	})
	_, err := io.Copy(sent, body)
	out.Flush()
	switch {
	case errors.Is(err, errReset):
		reset(w)
	case err != nil && !errors.Is(err, http.ErrBodyNotAllowed):
		panic(http.ErrAbortHandler)
	case surplus: // net/http does not send more than it announced
		if conn, _, err := out.Hijack(); err == nil {
			conn.Write(a.body[a.length:])
			conn.Close()
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// response returns the answer in the form in which net/http's Transport returns it.
func (a answer) response(r *http.Request) *http.Response {
	resp := &http.Response{
		Status:     strconv.Itoa(a.status) + " " + http.StatusText(a.status),
		StatusCode: a.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        a.header.Clone(),
		Body:          io.NopCloser(bytes.NewReader(nil)),
		ContentLength: cmp.Or(a.length, int64(len(a.body))),
		Request:       r,
	}
	if n := a.announced(); n != "" {
		resp.Header.Set("Content-Length", n)
	} else {
		resp.ContentLength = -1
	}
	if r.Method != http.MethodHead {
		resp.Body = io.NopCloser(&asReceived{a.reader(r.Context()), r, resp.ContentLength})
	}
	return resp
}

// asReceived is a body in the form in which net/http's client reads it. It ends after the announced length, or with an
// error.
type asReceived struct {
	io.Reader
	request   *http.Request
	remaining int64 // bytes that may still be read; negative: no limit
}

func (r *asReceived) Read(p []byte) (int, error) {
	if r.remaining >= 0 && int64(len(p)) > r.remaining {
		p = p[:r.remaining]
	}
	if r.remaining == 0 {
		return 0, io.EOF
	}
	n, err := r.Reader.Read(p)
	if r.remaining > 0 {
		r.remaining -= int64(n)
	}
	switch {
	case err == errReset:
		err = connError("read", "read", r.request, syscall.ECONNRESET)
	case err == errCut, err == io.EOF && r.remaining > 0:
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
