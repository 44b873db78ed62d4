package managedidtest

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// assertion is what Entra reads in one.
type assertion struct {
	Issuer     string       `json:"iss"`
	Subject    string       `json:"sub"`
	Audience   audienceList `json:"aud"`
	NotBefore  epoch        `json:"nbf"`
	Expires    epoch        `json:"exp"`
	ResourceID string       `json:"xms_mirid"` // of a managed identity

	header    jwtHeader
	sum       [sha256.Size]byte // of what is signed
	signature []byte
}

// audienceList is a string or an array of them: RFC 7519, section 4.1.3.
type audienceList []string

func (l *audienceList) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*l = make([]string, 1)
		return json.Unmarshal(b, &(*l)[0])
	}
	return json.Unmarshal(b, (*[]string)(l))
}

// epoch is a time in seconds, which MSAL.NET sends as a string.
type epoch int64

func (e *epoch) UnmarshalJSON(b []byte) error {
	seconds, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 64)
	*e = epoch(seconds)
	return err
}

func readAssertion(raw string) (in assertion, problem *refusal) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || decodePart(parts[0], &in.header) != nil || decodePart(parts[1], &in) != nil {
		return in, malformedAssertion()
	}
	var err error
	if in.signature, err = base64URL.DecodeString(parts[2]); err != nil {
		return in, malformedAssertion()
	}
	in.sum = sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	return in, nil
}

// roundingUp makes up for a client that rounds the time to whole seconds, as MSAL for JavaScript does, and so is up to half a second ahead.
const roundingUp = time.Second

// checkAssertion checks that the assertion is for one of the application's certificates or federated credentials, and in
// force. An application that signs with a certificate is itself the issuer; any other issuer is a URL.
func (s *state) checkAssertion(a *Application, raw string, at realm, now time.Time) *refusal {
	in, problem := readAssertion(raw)
	switch {
	case problem != nil:
		return problem
	case at.bound:
		problem = checkBound(in)
	case strings.Contains(in.Issuer, "://"):
		problem = s.checkFederated(a, in)
	default:
		problem = a.checkCertified(in, at, now)
	}
	if problem != nil {
		return problem
	}
	from, until := time.Unix(int64(in.NotBefore), 0), time.Unix(int64(in.Expires), 0)
	if now.Add(roundingUp).Before(from) || !now.Before(until) {
		return untimelyAssertion(now, from, until)
	}
	return nil
}

// checkFederated checks that the assertion is one of the cluster's or a managed identity's, and that a federated credential
// names it.
func (s *state) checkFederated(a *Application, in assertion) *refusal {
	if problem := a.checkFederation(in); problem != nil {
		return problem
	}
	key := &clusterKey().PublicKey
	if s.isOwnIssuer(in.Issuer) {
		if key = &signingKey().PublicKey; in.ResourceID == "" {
			return notFederable(in.Issuer)
		}
	}
	if in.header.KeyID != keyID(key) {
		return unknownKey(in.header.KeyID, in.Issuer)
	}
	if in.header.Algorithm != "RS256" || !in.isSignedWith(key) {
		return wrongSignature()
	}
	return nil
}

// isOwnIssuer reports whether the emulator issues tokens by this name.
func (s *state) isOwnIssuer(issuer string) bool {
	return slices.ContainsFunc(append([]string{s.options.TenantID}, s.options.OtherTenants...), func(tenant string) bool {
		return firstVersion(issuer) == issuerHost+tenant+"/"
	})
}

// firstVersion returns the issuer as tokens of version 1.0 have it. Managed identities' tokens for the exchange are of
// version 2.0, and those of the emulator are not.
func firstVersion(issuer string) string {
	rest, public := strings.CutPrefix(issuer, "https://login.microsoftonline.com/")
	if tenant, second := strings.CutSuffix(rest, "/v2.0"); public && second {
		return issuerHost + tenant + "/"
	}
	return issuer
}

// checkFederation says which part of the assertion matches no federated credential. All parts of one have to match exactly,
// in case too: Microsoft's page "Workload identity federation".
func (a *Application) checkFederation(in assertion) *refusal {
	if len(a.Federated) == 0 {
		return noFederation(in)
	}
	left := slices.DeleteFunc(slices.Clone(a.Federated), func(f FederatedCredential) bool {
		return firstVersion(f.Issuer) != firstVersion(in.Issuer)
	})
	if len(left) == 0 {
		return otherFederation(700211, "issuer", in.Issuer)
	}
	left = slices.DeleteFunc(left, func(f FederatedCredential) bool { return f.Subject != in.Subject })
	if len(left) == 0 {
		return otherFederation(700213, "subject", in.Subject)
	}
	left = slices.DeleteFunc(left, func(f FederatedCredential) bool { return !slices.Contains(in.Audience, f.Audience) })
	if len(left) == 0 {
		return otherFederation(700212, "audience", strings.Join(in.Audience, ","))
	}
	return nil
}
