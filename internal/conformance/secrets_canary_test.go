package conformance

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/testkit"
)

// The canaries: secrets that must come out nowhere. Each has a long word, which stays as it is in a URL, in quotes and in JSON,
// and characters that don't, so that half of a canary is found too, and a redaction that knows one spelling alone shows.
const (
	canaryToken     = "eyJhbGciOiJjYW5hcnkxIn0.eyJzdWIiOiJjYW5hcnkyIn0.c2lnbmF0dXJlLWNhbmFyeTM"
	canaryFederated = "eyJhbGciOiJjYW5hcnk0In0.eyJzdWIiOiJjYW5hcnk1In0.c2lnbmF0dXJlLWNhbmFyeTY"
	canaryCallback  = "eyJhbGciOiJjYW5hcnk3In0.eyJzdWIiOiJjYW5hcnk4In0.c2lnbmF0dXJlLWNhbmFyeTk"
	canarySecret    = `p8~c4n4ry-cl13nt/+ &=ü%"\<`
	canaryHeader    = `1d3nt1ty-c4n4ry+/"\&=<%`
	canaryMSI       = `ms1-s3cr3t-c4n4ry+/"\&=<%`
	canaryArc       = `4rc-k3y-c4n4ry+/"\&=<%`
)

// canaries are what to search for, by name.
type canaries map[string][]string

var words = regexp.MustCompile(`[A-Za-z0-9_-]{7,}`)

func newCanaries(t testing.TB) canaries {
	k := canaries{}
	for name, value := range map[string]string{"access token": canaryToken, "federated token": canaryFederated, "callback": canaryCallback,
		"client secret": canarySecret, "IDENTITY_HEADER": canaryHeader, "MSI_SECRET": canaryMSI, "key of Arc": canaryArc, "password": testkit.CertificatePassword} {
		k.add(name, value)
	}
	_, key := chainAndKey(t)
	for _, number := range append(key.Primes, key.D) {
		k["private key"] = append(append(k["private key"], number.String()), encodings(string(number.Bytes()))...)
	}
	for line := range strings.SplitSeq(string(testkit.Fixture(t, "leaf.key", "pkcs1.key")), "\n") {
		if len(line) == 64 {
			k["private key"] = append(k["private key"], line)
		}
	}
	return k
}

func (k canaries) add(name, value string) {
	for _, word := range words.FindAllString(value, -1) {
		k[name] = append(append(k[name], word), encodings(word)...)
	}
}

// encodings are those of a secret, wherever in an encoded text it stands.
func encodings(value string) (all []string) {
	b := []byte(value)
	asGo, decimal := fmt.Sprintf("%#v", b), fmt.Sprint(b)
	all = append(all, hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)), asGo[len("[]byte{"):len(asGo)-1], decimal[1:len(decimal)-1])
	for shift := range 3 {
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			s := e.EncodeToString(append(make([]byte, shift), b...))[[]int{0, 2, 3}[shift]:]
			if (shift+len(b))%3 != 0 {
				s = s[:len(s)-1] // which depends on what follows
			}
			all = append(all, s)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// canaryJWT finds what looks like a JWT.
var canaryJWT = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]*`)

// find returns the names of the canaries in a text, among them any JWT: assertions are made on the way.
func (k canaries) find(text string) (names []string) {
	for name, forms := range k {
		if slices.ContainsFunc(forms, func(form string) bool { return strings.Contains(text, form) }) {
			names = append(names, name)
		}
	}
	if len(names) == 0 && canaryJWT.MatchString(text) {
		names = []string{"JWT"}
	}
	slices.Sort(names)
	return names
}

func TestCanaries_areFoundInEachSpelling(t *testing.T) {
	const secret = canaryHeader
	k := newCanaries(t)
	_, key := chainAndKey(t)
	for name, text := range map[string]string{
		"as it is": "a" + secret + "b", "in a query": "?a=" + url.QueryEscape(secret), "in a path": "/" + url.PathEscape(secret),
		"in JSON": inJSON(secret), "quoted": fmt.Sprintf("%q", secret), "in hex": fmt.Sprintf("%x", secret), "in upper hex": fmt.Sprintf("%X", secret),
		"as bytes": fmt.Sprint([]byte(secret)), "as Go's bytes": fmt.Sprintf("%#v", []byte(secret)), "half": secret[:16],
		"in base64": base64.StdEncoding.EncodeToString([]byte(secret)), "in base64, amid": base64.URLEncoding.EncodeToString([]byte("user:" + secret + ":more")),
	} {
		require.Equal(t, []string{"IDENTITY_HEADER"}, k.find(text), name)
	}
	for name, text := range map[string]string{"number": fmt.Sprint(key.D), "struct": fmt.Sprintf("%+v", *key), "PEM": string(testkit.Fixture(t, "leaf-chain.pem")),
		"JSON": inJSON(key)} {
		require.Equal(t, []string{"private key"}, k.find(text), name)
	}
	for part := range strings.SplitSeq(canaryToken, ".") {
		require.Equal(t, []string{"access token"}, k.find(part))
	}
	require.Equal(t, []string{"JWT"}, k.find(secretToken))
	require.Empty(t, k.find("az login --claims-challenge eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="))
}

func inJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func chainAndKey(t testing.TB) ([]*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	certs, key, err := managedid.ParseCertificates(testkit.Fixture(t, "leaf-chain.pem"), nil)
	require.NoError(t, err)
	return certs, key.(*rsa.PrivateKey)
}
