// Package ldap answers simple binds, and nothing else: enough for a server that leaves the check of a password to a directory.
package ldap

import (
	"bufio"
	"encoding/asn1"
	"errors"
	"io"
)

// Result codes: RFC 4511, section 4.1.9.
const (
	success            = 0
	protocolError      = 2
	invalidCredentials = 49
)

// Application tags: RFC 4511, section 4.2.
const (
	bindRequest  = 0
	bindResponse = 1
)

const (
	maxMessage  = 1 << 20
	application = asn1.ClassApplication
)

// message is an LDAPMessage without controls: RFC 4511, section 4.1.1.
type message struct {
	ID        int
	Operation asn1.RawValue
}

// Serve answers the binds of one connection until the client ends it. A password is right if check returns nil.
func Serve(conn io.ReadWriter, check func(name, password string) error) error {
	in := bufio.NewReader(conn)
	for {
		m, err := read(in)
		if err != nil || m.Operation.Class != application || m.Operation.Tag != bindRequest {
			return err // of an unbind request there is none, and no answer
		}
		answer, err := respond(m.ID, bind(m.Operation.Bytes, check))
		if err == nil {
			_, err = conn.Write(answer)
		}
		if err != nil {
			return err
		}
	}
}

func read(in *bufio.Reader) (m message, err error) {
	head, err := in.Peek(2)
	if err != nil {
		return m, err
	}
	length, header := int(head[1]), 2
	if length >= 0x80 { // the long form: X.690, section 8.1.3.5
		header += length & 0x7f
		if head, err = in.Peek(header); err != nil {
			return m, err
		}
		length = 0
		for _, b := range head[2:] {
			length = min(length<<8|int(b), maxMessage+1)
		}
	}
	if length > maxMessage {
		return m, errors.New("ldap: the message is too long")
	}
	whole := make([]byte, header+length)
	if _, err = io.ReadFull(in, whole); err == nil {
		_, err = asn1.Unmarshal(whole, &m)
	}
	return m, err
}

// bind returns the result of a bind request: RFC 4511, section 4.2.
func bind(request []byte, check func(name, password string) error) asn1.Enumerated {
	var version int
	var name []byte
	var password asn1.RawValue
	var err error
	for _, field := range []any{&version, &name, &password} {
		if request, err = asn1.Unmarshal(request, field); err != nil {
			return protocolError
		}
	}
	simple := password.Class == asn1.ClassContextSpecific && password.Tag == 0
	if !simple || len(password.Bytes) == 0 || check(string(name), string(password.Bytes)) != nil {
		return invalidCredentials // an empty password would be an unauthenticated bind, which succeeds elsewhere
	}
	return success
}

func respond(id int, code asn1.Enumerated) ([]byte, error) {
	var result []byte
	for _, field := range []any{code, []byte(nil), []byte(nil)} { // no matchedDN, no diagnosticMessage
		b, err := asn1.Marshal(field)
		if err != nil {
			return nil, err
		}
		result = append(result, b...)
	}
	return asn1.Marshal(message{id, asn1.RawValue{Class: application, Tag: bindResponse, IsCompound: true, Bytes: result}})
}
