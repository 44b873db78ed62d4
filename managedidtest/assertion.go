package managedidtest

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// assertion is what Entra reads in one.
type assertion struct {
	Issuer    string       `json:"iss"`
	Subject   string       `json:"sub"`
	Audience  audienceList `json:"aud"`
	NotBefore int64        `json:"nbf"`
	Expires   int64        `json:"exp"`
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

// checkAssertion checks that the assertion is one of the cluster's, for one of the federated credentials, and in force.
// All parts of a credential have to match exactly, in case too: Microsoft's page "Workload identity federation".
func (a *Application) checkAssertion(raw string, now time.Time) *refusal {
	parts := strings.Split(raw, ".")
	var header jwtHeader
	var in assertion
	if len(parts) != 3 || decodePart(parts[0], &header) != nil || decodePart(parts[1], &in) != nil {
		return malformedAssertion()
	}
	signature, err := base64URL.DecodeString(parts[2])
	if err != nil {
		return malformedAssertion()
	}
	if problem := a.checkFederation(in); problem != nil {
		return problem
	}
	key := &clusterKey().PublicKey
	if header.KeyID != keyID(key) {
		return unknownKey(header.KeyID, in.Issuer)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if header.Algorithm != "RS256" || rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) != nil {
		return wrongSignature()
	}
	from, until := time.Unix(in.NotBefore, 0), time.Unix(in.Expires, 0)
	if now.Before(from) || !now.Before(until) {
		return untimelyAssertion(now, from, until)
	}
	return nil
}

// checkFederation says which part of the assertion matches no federated credential.
func (a *Application) checkFederation(in assertion) *refusal {
	if len(a.Federated) == 0 {
		return noFederation(in)
	}
	left := slices.DeleteFunc(slices.Clone(a.Federated), func(f FederatedCredential) bool { return f.Issuer != in.Issuer })
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
