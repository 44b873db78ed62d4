package ldap

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// connection is what a client sends, and what it gets.
type connection struct {
	io.Reader
	bytes.Buffer
}

func (c *connection) Read(p []byte) (int, error) { return c.Reader.Read(p) }

func serve(sent []byte) (answer []byte, err error) {
	c := &connection{Reader: bytes.NewReader(sent)}
	err = Serve(c, func(name, password string) error {
		if name == "cn=role" && password == strings.Repeat("t", 300) {
			return nil
		}
		return errors.New("wrong")
	})
	return c.Bytes(), err
}

// request is a simple bind: RFC 4511, section 4.2.
func request(id int, name, password string) []byte {
	bind, err := asn1.Marshal(struct {
		Version  int
		Name     []byte
		Password []byte `asn1:"tag:0"`
	}{3, []byte(name), []byte(password)})
	if err != nil {
		panic(err)
	}
	bind[0] = asn1.ClassApplication<<6 | 0x20 // in the place of SEQUENCE
	sent, err := asn1.Marshal(struct {
		ID   int
		Bind asn1.RawValue
	}{id, asn1.RawValue{FullBytes: bind}})
	if err != nil {
		panic(err)
	}
	return sent
}

func TestServe(t *testing.T) {
	for _, tt := range []struct {
		name, role, password string
		code                 byte
	}{
		{"right", "cn=role", strings.Repeat("t", 300), 0},
		{"wrong password", "cn=role", "t", 49},
		{"wrong name", "cn=other", strings.Repeat("t", 300), 49},
		{"empty password", "cn=role", "", 49},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, err := serve(request(7, tt.role, tt.password))
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, []byte{0x30, 12, 2, 1, 7, 0x61, 7, 10, 1, tt.code, 4, 0, 4, 0}, answer)
		})
	}
}

func FuzzServe(f *testing.F) {
	good := request(1, "cn=role", "t")
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte{0x30, 5, 2, 1, 2, 0x42, 0})                // unbind
	f.Add([]byte{0x30, 0x80, 0, 0})                         // indefinite length
	f.Add([]byte{0x30, 0xff})                               // a length of 127 bytes
	f.Add([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 0x02}) // 2 GiB
	f.Fuzz(func(_ *testing.T, sent []byte) {
		serve(sent) // must not panic
	})
}
