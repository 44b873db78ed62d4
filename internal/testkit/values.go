package testkit

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

const (
	// SecretToken is in every answer of the fakes, and must be in no output.
	SecretToken = "eyJ0b2tlbg.c2VjcmV0.cGF5bG9hZA"

	Vault = "https://vault.azure.net/.default"

	SomeGUID       = "9f3c1e52-8a47-4f6e-b1d0-2c7a5e94d816"
	SomeResource   = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/n"
	SomeHeader     = "853b9a84-5bfa-4b22-a3f3-0b9a43d9ad8a"
	SomeThumbprint = "0123456789abcdef0123456789ABCDEF01234567"

	SomeTenant = "contoso.onmicrosoft.com"
	SomeClient = "5f2ad7a1-6b0c-4f7e-9a53-8f1f6a6f0c11"
	SomeSecret = "p8~s3cr3t/+ &=ü%"

	ClaimsA, ClaimsB = `{"access_token":{"a":null}}`, `{"access_token":{"b":null}}`

	// UnpinnedAdvice is behind what a transport is that Service Fabric can't be asked through.
	UnpinnedAdvice = ", so that the endpoint's certificate can't be compared with IDENTITY_SERVER_THUMBPRINT; leave ClientOptions.Transport nil, " +
		"or give it an *http.Client with a plain *http.Transport"
)

// RequireLine checks a text for an error: one printable line of bounded length, without the secrets. It looks
// for those of eight bytes or more, since a shorter one may be in any text.
func RequireLine(t *testing.T, line string, secrets ...string) {
	t.Helper()
	require.Less(t, len(line), 2000)
	require.True(t, utf8.ValidString(line))
	require.False(t, strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }), "%q is more than a line", line)
	for _, s := range secrets {
		require.False(t, len(s) >= 8 && strings.Contains(line, s), "a secret is in the error")
	}
}
