package answer

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func TestRead_eachFormOfAnError(t *testing.T) {
	for _, row := range []struct {
		name, body string
		want       Answer
	}{
		{"IMDS", `{"error":"invalid_request","error_description":"Identity not found"}`,
			Answer{OAuth: true, Code: "invalid_request", Description: "Identity not found"}},
		{"Entra", `{"error":"invalid_client","error_description":"AADSTS7000215: Wrong. Trace ID: 1","error_codes":[7000215,5]}`,
			Answer{OAuth: true, Code: "invalid_client", Description: "AADSTS7000215: Wrong.", Codes: []int{7000215, 5}}},
		{"App Service", `{"statusCode":400,"message":"No identity"}`, Answer{Description: "No identity"}},
		{"Service Fabric and Cloud Shell", `{"error":{"code":"ManagedIdentityNotFound","message":"None"}}`,
			Answer{Code: "ManagedIdentityNotFound", Description: "None"}},
		{"a nested code alone", `{"error":{"code":"c"}}`, Answer{Code: "c"}},
		{"a nested one and a message", `{"error":{"code":"c"},"message":"m"}`, Answer{Code: "c", Description: "m"}},
		{"a nested one goes before a description", `{"error":{"code":"c","message":"m"},"error_description":"d"}`,
			Answer{Code: "c", Description: "m"}},
		{"a description goes before a message", `{"error":"e","error_description":"d","message":"m"}`,
			Answer{OAuth: true, Code: "e", Description: "d"}},
		{"no code", `{"error":null,"error_description":"d"}`, Answer{Description: "d"}},
		{"a description beside a nested code", `{"error":{"code":"c"},"error_description":"d"}`, Answer{Code: "c", Description: "d"}},
		{"a code alone", `{"error":"e"}`, Answer{OAuth: true, Code: "e"}},
		{"a description alone", `{"error_description":"d"}`, Answer{Description: "d"}},
		{"an empty code", `{"error":"","error_description":"d"}`, Answer{Description: "d"}},
		{"several lines", `{"error":"a\nb","error_description":"c\r\nd"}`, Answer{OAuth: true, Code: "a b", Description: "c d"}},
		{"a mark of its byte order", "\xef\xbb\xbf" + `{"message":"m"}`, Answer{Description: "m"}},
		{"fields of other kinds", `{"error":1,"error_description":{},"message":[],"error_codes":"x"}`, Answer{}},
		{"nested fields of other kinds", `{"error":{"code":1,"message":{}}}`, Answer{}},
		{"a token", `{"access_token":"t"}`, Answer{IsToken: true}},
		{"the lifetime of a token", `{"expires_in":null}`, Answer{IsToken: true}},
		{"the end of a token", `{"expires_on":""}`, Answer{IsToken: true}},
		{"other fields of tokens", `{"token_type":"Bearer","resource":"r"}`, Answer{}},
		{"an OpenID document", `{"token_endpoint":"https://a"}`, Answer{IsMetadata: true}},
		{"no OpenID document", `{"token_endpoint":""}`, Answer{}},
		{"an object without any", `{}`, Answer{}},
		{"null", `null`, Answer{}},
		{"an array", `[{"error":"e"}]`, Answer{}},
		{"HTML", `<html>error</html>`, Answer{}},
		{"half of it", `{"error":"e"`, Answer{}},
		{"nothing", ``, Answer{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			resp := respond(418, row.body, "Server", "made up")
			row.want.Status, row.want.Header = 418, resp.Header
			require.Equal(t, row.want, Read(resp))
		})
	}
}

func TestRead_aBodyThatBreaksOff(t *testing.T) {
	resp := respond(500, "", "Server", "made up")
	resp.Body = io.NopCloser(iotest.ErrReader(errors.New("reset")))
	require.Equal(t, Answer{Status: 500, Header: resp.Header}, Read(resp))
}

func TestRead_quotesNoSecret(t *testing.T) {
	const body = `{"error":"for s3cr3t","error_description":"s3cr3t and\n0ther, not this"}`
	a := Read(respond(400, body), "s3cr3t", "and 0ther")
	require.Equal(t, "for REDACTED", a.Code)
	require.Equal(t, "REDACTED REDACTED, not this", a.Description)
	a = Read(respond(400, `{"error":{"code":"s3cr3t","message":"s3cr3t"}}`), "s3cr3t")
	require.Equal(t, "REDACTED", a.Code)
	require.Equal(t, "REDACTED", a.Description)
	require.Equal(t, "REDACTED", Read(respond(400, `{"message":"s3cr3t"}`), "s3cr3t").Description)
}

func TestAnswer_isALine(t *testing.T) {
	for _, row := range []struct {
		name string
		a    Answer
		want string
	}{
		{"all", Answer{Status: 400, Code: "c", Description: "d"}, "400 Bad Request, c: d"},
		{"a code", Answer{Status: 404, Code: "c"}, "404 Not Found, c"},
		{"a description", Answer{Status: 502, Description: "d"}, "502 Bad Gateway: d"},
		{"a status", Answer{Status: 500}, "500 Internal Server Error"},
		{"a success is not quoted", Answer{Status: 200, Code: "c", Description: "d"}, "200 OK, c"},
		{"another success", Answer{Status: 299, Description: "d"}, "299"},
		{"a redirect", Answer{Status: 300, Description: "d"}, "300 Multiple Choices: d"},
	} {
		t.Run(row.name, func(t *testing.T) { require.Equal(t, row.want, row.a.String()) })
	}
}

func TestStatusLine_hasItsText(t *testing.T) {
	for code, want := range map[int]string{200: "200 OK", 404: "404 Not Found", 429: "429 Too Many Requests", 599: "599", 0: "0"} {
		require.Equal(t, want, StatusLine(code))
	}
}

func TestEchoes_ofOneIdentityOrAnother(t *testing.T) {
	for _, row := range []struct {
		name, body  string
		its, others bool
	}{
		{"its own", `{"client_id":"abc"}`, true, false},
		{"in another case", `{"client_id":"ABC"}`, true, false},
		{"another's", `{"client_id":"abcd"}`, false, true},
		{"the second name", `{"msi_res_id":"abc"}`, true, false},
		{"both its own", `{"client_id":"abc","msi_res_id":"abc"}`, true, false},
		{"one its own, one another's", `{"client_id":"abc","msi_res_id":"x"}`, true, true},
		{"one its own, one empty", `{"client_id":"abc","msi_res_id":""}`, true, false},
		{"empty", `{"client_id":""}`, false, false},
		{"null", `{"client_id":null}`, false, false},
		{"a blank", `{"client_id":" "}`, false, true},
		{"a number", `{"client_id":1}`, false, true},
		{"an array with its own", `{"client_id":["abc"]}`, false, true},
		{"another field", `{"object_id":"x"}`, false, false},
		{"a mark of its byte order", "\xef\xbb\xbf" + `{"client_id":"abc"}`, true, false},
		{"no JSON", `client_id=abc`, false, false},
		{"nothing", ``, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			its, others := Echoes([]byte(row.body), "abc", "client_id", "msi_res_id")
			require.Equal(t, row.its, its)
			require.Equal(t, row.others, others)
		})
	}
}

// endless is a body without an end, which counts what is read of it.
type endless struct{ read int }

func (r *endless) Read(p []byte) (int, error) {
	r.read += len(p)
	return len(p), nil
}

func TestReadBody_atMostOneMebibyte(t *testing.T) {
	errReset := errors.New("reset")
	body := func(size int) io.Reader { return strings.NewReader(strings.Repeat("b", size)) }
	for _, row := range []struct {
		name string
		body io.Reader
		size int
		want error
	}{
		{"nothing", body(0), 0, nil},
		{"a token's", body(3000), 3000, nil},
		{"the first buffer", body(8 << 10), 8 << 10, nil},
		{"more than the first buffer", body(8<<10 + 1), 8<<10 + 1, nil},
		{"a byte less than allowed", body(MaxBody - 1), MaxBody - 1, nil},
		{"all that is allowed", body(MaxBody), MaxBody, nil},
		{"a byte more", body(MaxBody + 1), 0, ErrTooLarge},
		{"much more", body(2 * MaxBody), 0, ErrTooLarge},
		{"byte by byte", iotest.OneByteReader(body(20000)), 20000, nil},
		{"all that is allowed, with its end", iotest.DataErrReader(body(MaxBody)), MaxBody, nil},
		{"a byte more, with its end", iotest.DataErrReader(body(MaxBody + 1)), 0, ErrTooLarge},
		{"reset", io.MultiReader(body(100), iotest.ErrReader(errReset)), 0, errReset},
		{"cut off", io.MultiReader(body(100), iotest.ErrReader(io.ErrUnexpectedEOF)), 0, io.ErrUnexpectedEOF},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := ReadBody(row.body)
			require.Equal(t, row.want, err)
			require.True(t, string(got) == strings.Repeat("b", row.size), "%d bytes", len(got))
		})
	}
}

func TestReadBody_readsNoMoreOfAnEndlessOne(t *testing.T) {
	var r endless
	_, err := ReadBody(&r)
	require.Equal(t, ErrTooLarge, err)
	require.Equal(t, MaxBody+1, r.read)
}

func TestRead_leavesTheBodyForOthers(t *testing.T) {
	resp := respond(400, `{"message":"m"}`)
	require.Equal(t, "m", Read(resp).Description)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, `{"message":"m"}`, string(body))
	require.Equal(t, http.Header{}, resp.Header)
}
