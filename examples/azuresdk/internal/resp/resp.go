// Package resp stands between a client and a Redis server, and changes the passwords that it sends.
package resp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	maxArguments = 1024
	maxArgument  = 1 << 20
)

var errProtocol = errors.New("resp: the client doesn't send arrays of bulk strings, or too long ones")

// Forward copies commands from a client to a server until there are no more, and replaces the password of each that
// authenticates a user.
func Forward(server io.Writer, client io.Reader, replace func(user, password string) string) error {
	in, out := bufio.NewReader(client), bufio.NewWriter(server)
	for {
		command, err := read(in)
		if err != nil {
			return err
		}
		if at := password(command); at > 0 {
			command[at] = replace(command[at-1], command[at])
		}
		fmt.Fprintf(out, "*%d\r\n", len(command))
		for _, argument := range command {
			fmt.Fprintf(out, "$%d\r\n%s\r\n", len(argument), argument)
		}
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}

// password returns where in a command a password is, after its user, and 0 where there is none. The commands are
// AUTH user password, and HELLO protocol [AUTH user password] …
func password(command []string) int {
	switch {
	case len(command) == 3 && strings.EqualFold(command[0], "auth"):
		return 2
	case len(command) >= 5 && strings.EqualFold(command[0], "hello") && strings.EqualFold(command[2], "auth"):
		return 4
	}
	return 0
}

// read reads an array of bulk strings, the form of all commands: Redis's page "Redis serialization protocol specification".
func read(in *bufio.Reader) ([]string, error) {
	n, err := length(in, '*', maxArguments)
	if err != nil {
		return nil, err
	}
	command := make([]string, n)
	for i := range command {
		size, err := length(in, '$', maxArgument)
		if err != nil {
			return nil, err
		}
		argument := make([]byte, size+len("\r\n"))
		if _, err := io.ReadFull(in, argument); err != nil {
			return nil, err
		}
		command[i] = string(argument[:size])
	}
	return command, nil
}

func length(in *bufio.Reader, kind byte, limit int) (int, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	text, ok := strings.CutSuffix(string(line[1:]), "\r\n")
	n, err := strconv.Atoi(text)
	if line[0] != kind || !ok || err != nil || n < 0 || n > limit {
		return 0, errProtocol
	}
	return n, nil
}
