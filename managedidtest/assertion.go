package managedidtest

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// assertion is a client assertion. Its fields are what Entra reads in one.
type assertion struct {
	Issuer     string       `json:"iss"`
	Subject    string       `json:"sub"`
	Audience   audienceList `json:"aud"`
	NotBefore  epoch        `json:"nbf"`
	Expires    epoch        `json:"exp"`
	ResourceID string       `json:"xms_mirid"` // only in a managed identity's token

	header    jwtHeader
	sum       [sha256.Size]byte // of the signed part
	signature []byte
}

// audienceList is a string or an array of strings: RFC 7519, section 4.1.3.
type audienceList []string

func (l *audienceList) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*l = make([]string, 1)
		return json.Unmarshal(b, &(*l)[0])
	}
	return json.Unmarshal(b, (*[]string)(l))
}

// epoch is a time in seconds since 1970. MSAL.NET sends it as a string.
type epoch int64

func (e *epoch) UnmarshalJSON(b []byte) error {
	seconds, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 64)
	*e = epoch(seconds)
	return err
}

func readAssertion(raw string) (presented assertion, problem *refusal) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || decodePart(parts[0], &presented.header) != nil || decodePart(parts[1], &presented) != nil {
		return presented, malformedAssertion()
	}
	var err error
	if presented.signature, err = base64URL.DecodeString(parts[2]); err != nil {
		return presented, malformedAssertion()
	}
	presented.sum = sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	return presented, nil
}

// roundingUp is how far a client's clock may be ahead. MSAL for JavaScript rounds the time to whole seconds, so it may
// be half a second ahead.
const roundingUp = time.Second

// checkAssertion checks that the assertion is valid now, and that it matches a certificate or a federated credential of
// the application. An application that signs with a certificate is its own issuer. Any other issuer is a URL.
func (s *state) checkAssertion(a *Application, raw string, dest destination, now time.Time) *refusal {
	presented, problem := readAssertion(raw)
	switch {
	case problem != nil:
		return problem
	case dest.viaProxy:
		problem = checkBound(presented)
	case strings.Contains(presented.Issuer, "://"):
		problem = s.checkFederated(a, presented)
	default:
		problem = a.checkCertified(presented, dest, now)
	}
	if problem != nil {
		return problem
	}
	from, until := time.Unix(int64(presented.NotBefore), 0), time.Unix(int64(presented.Expires), 0)
	if now.Add(roundingUp).Before(from) || !now.Before(until) {
		return untimelyAssertion(now, from, until)
	}
	return nil
}

// checkFederated checks that the cluster or a managed identity issued the assertion, and that a federated credential of
// the application matches it.
func (s *state) checkFederated(a *Application, presented assertion) *refusal {
	if problem := a.checkFederation(presented); problem != nil {
		return problem
	}
	key := &clusterKey().PublicKey
	if s.isEmulatorIssuer(presented.Issuer) {
		if key = &signingKey().PublicKey; presented.ResourceID == "" {
			return notFederable(presented.Issuer)
		}
	}
	if presented.header.KeyID != keyID(key) {
		return unknownKey(presented.header.KeyID, presented.Issuer)
	}
	if presented.header.Algorithm != "RS256" || !presented.isSignedWith(key) {
		return wrongSignature()
	}
	return nil
}

// isEmulatorIssuer reports whether the issuer is that of the emulator in one of its tenants.
func (s *state) isEmulatorIssuer(issuer string) bool {
	tenants := append([]string{s.options.TenantID}, s.options.OtherTenants...)
	return slices.ContainsFunc(tenants, func(tenant string) bool { return v1Issuer(issuer) == issuerHost+tenant+"/" })
}

// v1Issuer returns the issuer in the form of version 1.0. A managed identity's token for the exchange has version 2.0
// in Azure, and version 1.0 in the emulator.
func v1Issuer(issuer string) string {
	rest, public := strings.CutPrefix(issuer, "https://login.microsoftonline.com/")
	if tenant, second := strings.CutSuffix(rest, "/v2.0"); public && second {
		return issuerHost + tenant + "/"
	}
	return issuer
}

// checkFederation returns an error that names the part of the assertion that matches no federated credential. All parts
// of one credential must match exactly, including case: Microsoft's page "Workload identity federation".
func (a *Application) checkFederation(presented assertion) *refusal {
	if len(a.Federated) == 0 {
		return noFederation(presented)
	}
	matching := slices.DeleteFunc(slices.Clone(a.Federated), func(f FederatedCredential) bool {
		return v1Issuer(f.Issuer) != v1Issuer(presented.Issuer)
	})
	if len(matching) == 0 {
		return otherFederation(700211, "issuer", presented.Issuer)
	}
	matching = slices.DeleteFunc(matching, func(f FederatedCredential) bool { return f.Subject != presented.Subject })
	if len(matching) == 0 {
		return otherFederation(700213, "subject", presented.Subject)
	}
	matching = slices.DeleteFunc(matching, func(f FederatedCredential) bool {
		return !slices.Contains(presented.Audience, f.Audience)
	})
	if len(matching) == 0 {
		return otherFederation(700212, "audience", strings.Join(presented.Audience, ","))
	}
	return nil
}
