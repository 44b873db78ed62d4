package tds

import (
	"encoding/binary"
	"unicode/utf16"
)

// fedAuth is the ID of federated authentication, and securityToken the library for tokens that the client has already:
// section 2.2.6.4, "FeatureExt".
const (
	fedAuth       = 0x02
	securityToken = 0x01
	terminator    = 0xff
)

var little = binary.LittleEndian

// tokenOf finds the token in a LOGIN7 message: its fixed part has the place of the extension's offset at 56, and the
// extension is a list of features, each with an ID and a length.
func tokenOf(login []byte) (string, error) {
	const extension, flags3, hasExtension = 56, 27, 0x10
	if len(login) < 94 || login[flags3]&hasExtension == 0 {
		return "", errProtocol
	}
	at := int(little.Uint16(login[extension:]))
	if at+4 > len(login) {
		return "", errProtocol
	}
	at = int(little.Uint32(login[at:]))
	for at+5 <= len(login) && login[at] != terminator {
		id, size := login[at], int(little.Uint32(login[at+1:]))
		at += 5
		if size > len(login)-at {
			break
		}
		if id == fedAuth {
			return tokenIn(login[at : at+size])
		}
		at += size
	}
	return "", errProtocol
}

// tokenIn reads a FEDAUTH feature: an option, whose upper seven bits are the library, and the token's length and UTF-16.
func tokenIn(feature []byte) (string, error) {
	if len(feature) < 5 || feature[0]>>1 != securityToken {
		return "", errProtocol
	}
	size := int(little.Uint32(feature[1:]))
	if size > len(feature)-5 {
		return "", errProtocol
	}
	return text(feature[5 : 5+size]), nil
}

// prelogged is a PRELOGIN response: section 2.2.6.5. Its options are a version, that there is no encryption but TLS
// around all of it, and that federated authentication is required.
func prelogged() []byte {
	options := []struct {
		token byte
		value []byte
	}{{0, []byte{16, 0, 0, 0, 0, 0}}, {1, []byte{2}}, {6, []byte{1}}}
	var head, body []byte
	start := 5*len(options) + 1
	for _, o := range options {
		head = append(head, o.token)
		head = binary.BigEndian.AppendUint16(head, uint16(start+len(body)))
		head = binary.BigEndian.AppendUint16(head, uint16(len(o.value)))
		body = append(body, o.value...)
	}
	return append(append(head, terminator), body...)
}

// loggedIn has the tokens LOGINACK, for SQL and TDS 8.0, FEATUREEXTACK and DONE: sections 2.2.7.
func loggedIn() []byte {
	ack := append([]byte{1, 0x08, 0, 0, 0}, short("lab")...)
	ack = append(ack, 16, 0, 0, 0)
	out := append(little.AppendUint16([]byte{0xad}, uint16(len(ack))), ack...)
	out = append(out, 0xae, fedAuth, 0, 0, 0, 0, terminator)
	return append(out, done(0, 0)...)
}

// failure has the tokens ERROR and DONE.
func failure(number uint32, class byte, message string) []byte {
	body := little.AppendUint32(nil, number)
	body = append(body, 1, class)
	body = little.AppendUint16(body, uint16(len(message)))
	body = append(body, wide(message)...)
	body = append(body, short("lab")...) // the server
	body = append(body, short("")...)    // no procedure
	body = little.AppendUint32(body, 1)  // the line
	out := append(little.AppendUint16([]byte{0xaa}, uint16(len(body))), body...)
	return append(out, done(0x02, 0)...)
}

// row has the tokens COLMETADATA, of one int column without a name, ROW and DONE.
func row(n int32) []byte {
	out := []byte{0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0x38, 0}
	out = little.AppendUint32(append(out, 0xd1), uint32(n))
	return append(out, done(0x10, 1)...)
}

func done(status uint16, rows uint64) []byte {
	out := little.AppendUint16([]byte{0xfd}, status)
	return little.AppendUint64(append(out, 0, 0), rows)
}

// short is a B_VARCHAR, a string of up to 255 characters.
func short(s string) []byte { return append([]byte{byte(len(s))}, wide(s)...) }

func wide(s string) (b []byte) {
	for _, unit := range utf16.Encode([]rune(s)) {
		b = little.AppendUint16(b, unit)
	}
	return b
}
