package tds

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
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
	err = Serve(c, func(token string) error {
		if token != "token" {
			return errors.New("wrong")
		}
		return nil
	})
	return c.Bytes(), err
}

// packet is one of a message; last is 1 for its last.
func packet(kind, last byte, body []byte) []byte {
	header := []byte{kind, last, 0, 0, 0, 0, 1, 0}
	binary.BigEndian.PutUint16(header[2:], uint16(len(header)+len(body)))
	return append(header, body...)
}

// login is a LOGIN7 message with two features.
func login(library byte, token string) []byte {
	fixed := make([]byte, 94)
	fixed[27] = 0x10
	little.PutUint16(fixed[56:], 94)
	out := little.AppendUint32(fixed, 98)
	out = append(out, 4, 1, 0, 0, 0, 1) // another feature
	feature := little.AppendUint32([]byte{library << 1}, uint32(len(wide(token))))
	feature = append(feature, wide(token)...)
	out = little.AppendUint32(append(out, fedAuth), uint32(len(feature)))
	return append(append(out, feature...), terminator)
}

func query(text string) []byte {
	return packet(batch, 1, append([]byte{4, 0, 0, 0}, wide(text)...))
}

func TestServe(t *testing.T) {
	hello := packet(prelogin, 1, nil)
	good := login(securityToken, "token")
	const loggedIn, row, failed = "\xad", "\xd1\x2a\x00\x00\x00", "\xaa"
	for _, tt := range []struct {
		name    string
		sent    [][]byte
		want    string
		problem string
	}{
		{"a query", [][]byte{hello, packet(login7, 1, good), query("SELECT 42")}, row, "EOF"},
		{"a message in two packets", [][]byte{hello, packet(login7, 0, good[:50]), packet(login7, 1, good[50:])}, loggedIn, "EOF"},
		{"an attention", [][]byte{hello, packet(login7, 1, good), packet(attention, 1, nil)}, "\xfd\x20\x00", "EOF"},
		{"another statement", [][]byte{hello, packet(login7, 1, good), query("DROP TABLE t")}, "k\x00n\x00o\x00w\x00s", "EOF"},
		{"a wrong token", [][]byte{hello, packet(login7, 1, login(securityToken, "other")), query("SELECT 42")}, failed, "wrong"},
		{"another library", [][]byte{hello, packet(login7, 1, login(2, "token"))}, failed, "doesn't need"},
		{"no token", [][]byte{hello, packet(login7, 1, make([]byte, 94))}, failed, "doesn't need"},
		{"no login", [][]byte{hello, query("SELECT 42")}, "", "doesn't need"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, err := serve(bytes.Join(tt.sent, nil))
			require.ErrorContains(t, err, tt.problem)
			require.Contains(t, string(answer), tt.want)
			require.Equal(t, tt.want == row, bytes.Contains(answer, []byte(row)))
		})
	}
}

func FuzzServe(f *testing.F) {
	whole := bytes.Join([][]byte{packet(prelogin, 1, nil), packet(login7, 1, login(securityToken, "token")), query("SELECT 42")}, nil)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(bytes.ReplaceAll(whole, []byte{94, 0}, []byte{0xff, 0xff}))
	f.Add(bytes.ReplaceAll(whole, []byte{98, 0, 0, 0}, []byte{0xff, 0xff, 0xff, 0xff}))
	f.Add(bytes.ReplaceAll(whole, []byte{4, 0, 0, 0}, []byte{0xff, 0xff, 0xff, 0xff}))
	f.Fuzz(func(t *testing.T, sent []byte) {
		_, err := serve(sent)
		require.Error(t, err)
	})
}
