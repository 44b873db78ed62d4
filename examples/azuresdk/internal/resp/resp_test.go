package resp

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func forward(sent string) (string, error) {
	var server bytes.Buffer
	err := Forward(&server, strings.NewReader(sent), func(user, password string) string {
		if user == "u" && password == "token" {
			return "other"
		}
		return password
	})
	return server.String(), err
}

func TestForward(t *testing.T) {
	for _, tt := range []struct{ name, sent, want string }{
		{"AUTH", "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$5\r\ntoken\r\n", "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$5\r\nother\r\n"},
		{"HELLO", "*5\r\n$5\r\nhello\r\n$1\r\n3\r\n$4\r\nauth\r\n$1\r\nu\r\n$5\r\ntoken\r\n", "*5\r\n$5\r\nhello\r\n$1\r\n3\r\n$4\r\nauth\r\n$1\r\nu\r\n$5\r\nother\r\n"},
		{"another user", "*3\r\n$4\r\nAUTH\r\n$1\r\nv\r\n$5\r\ntoken\r\n", "*3\r\n$4\r\nAUTH\r\n$1\r\nv\r\n$5\r\ntoken\r\n"},
		{"no user", "*2\r\n$4\r\nAUTH\r\n$5\r\ntoken\r\n", "*2\r\n$4\r\nAUTH\r\n$5\r\ntoken\r\n"},
		{"a value that looks alike", "*3\r\n$3\r\nSET\r\n$1\r\nu\r\n$5\r\ntoken\r\n", "*3\r\n$3\r\nSET\r\n$1\r\nu\r\n$5\r\ntoken\r\n"},
		{"two commands", "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n", "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := forward(tt.sent)
			require.ErrorContains(t, err, "EOF")
			require.Equal(t, tt.want, got)
		})
	}
}

func FuzzForward(f *testing.F) {
	for _, sent := range []string{"PING\r\n", "\n", "*\r\n", "*-1\r\n", "*0\r\n", "*99999\r\n", "*1\r\n$9999999\r\n", "*1\r\n$4\r\nPI", "*1\r\n:4\r\n"} {
		f.Add(sent)
	}
	f.Fuzz(func(t *testing.T, sent string) {
		_, err := forward(sent)
		require.Error(t, err)
	})
}
