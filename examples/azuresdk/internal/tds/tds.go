// Package tds plays as much of an Azure SQL server as a login with a token needs. It is test code: it has no databases, and
// knows no statement but SELECT with a whole number. The pages cited are those of Microsoft's [MS-TDS].
package tds

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"unicode/utf16"
)

// Protocol is the name of TDS 8.0 in TLS's application-layer protocol negotiation: section 3.2.5.1, "encrypt=strict".
const Protocol = "tds/8.0"

// Types of packets: section 2.2.3.1.1.
const (
	batch     = 0x01
	response  = 0x04
	attention = 0x06
	login7    = 0x10
	prelogin  = 0x12
)

const maxMessage = 1 << 20

var errProtocol = errors.New("tds: the client sends what a login with a token doesn't need")

// Serve answers one connection, which is inside TLS already, until the client ends it. A token logs in if check returns nil.
func Serve(conn io.ReadWriter, check func(token string) error) error {
	in := bufio.NewReader(conn)
	if _, _, err := receive(in, prelogin); err != nil {
		return err
	}
	if err := send(conn, prelogged()); err != nil {
		return err
	}
	_, login, err := receive(in, login7)
	if err != nil {
		return err
	}
	token, err := tokenOf(login)
	if err == nil {
		err = check(token)
	}
	if err != nil {
		return errors.Join(err, send(conn, failure(18456, 14, "Login failed for user '<token-identified principal>'.")))
	}
	for answer := loggedIn(); ; {
		if err := send(conn, answer); err != nil {
			return err
		}
		kind, request, err := receive(in, batch, attention)
		if err != nil {
			return err
		}
		if answer = done(0x20, 0); kind == batch { // an attention has come too late to cancel anything, and is acknowledged
			answer = result(request)
		}
	}
}

// receive reads a message of one of the kinds, which may come in several packets: section 2.2.3.
func receive(in *bufio.Reader, kinds ...byte) (kind byte, whole []byte, err error) {
	for {
		var header [8]byte
		if _, err := io.ReadFull(in, header[:]); err != nil {
			return 0, nil, err
		}
		size := int(binary.BigEndian.Uint16(header[2:])) - len(header)
		if !slices.Contains(kinds, header[0]) || size < 0 || len(whole)+size > maxMessage {
			return 0, nil, errProtocol
		}
		part := make([]byte, size)
		if _, err := io.ReadFull(in, part); err != nil {
			return 0, nil, err
		}
		whole = append(whole, part...)
		if header[1]&1 != 0 { // the last packet
			return header[0], whole, nil
		}
	}
}

// send writes a message in one packet.
func send(out io.Writer, body []byte) error {
	header := []byte{response, 1, 0, 0, 0, 0, 1, 0}
	binary.BigEndian.PutUint16(header[2:], uint16(len(header)+len(body)))
	_, err := out.Write(append(header, body...))
	return err
}

var selects = regexp.MustCompile(`(?i)^\s*select\s+(-?\d{1,10})\s*;?\s*$`)

// result answers a batch: section 2.2.6.7. Its text comes after all headers, whose length comes first.
func result(request []byte) []byte {
	if len(request) < 4 || binary.LittleEndian.Uint32(request) > uint32(len(request)) {
		return failure(4002, 16, "The incoming tabular data stream (TDS) protocol stream is incorrect.")
	}
	match := selects.FindStringSubmatch(text(request[binary.LittleEndian.Uint32(request):]))
	if match == nil {
		return failure(102, 15, "The lab's responder knows SELECT with a whole number only.")
	}
	n, err := strconv.ParseInt(match[1], 10, 32)
	if err != nil {
		return failure(248, 16, "The conversion overflowed an int column.")
	}
	return row(int32(n))
}

// text decodes UTF-16, little-endian.
func text(b []byte) string {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}
