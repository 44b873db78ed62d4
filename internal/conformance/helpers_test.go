package conformance

import (
	"errors"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/testkit"
	"github.com/managedid/managedid/internal/tokens"
)

// What these tests share with those of the root package.
const (
	claimsA        = testkit.ClaimsA
	claimsB        = testkit.ClaimsB
	secretToken    = testkit.SecretToken
	someClient     = testkit.SomeClient
	someGUID       = testkit.SomeGUID
	someHeader     = testkit.SomeHeader
	someResource   = testkit.SomeResource
	someSecret     = testkit.SomeSecret
	someTenant     = testkit.SomeTenant
	someThumbprint = testkit.SomeThumbprint
	vault          = testkit.Vault
)

type (
	fakeEntra     = testkit.FakeEntra
	fakeIMDS      = testkit.FakeIMDS
	foreign       = testkit.Foreign
	other         = testkit.Other
	policyFunc    = testkit.PolicyFunc
	result        = testkit.Result
	script        = testkit.Script
	transportFunc = testkit.TransportFunc
)

var (
	answerWith               = testkit.AnswerWith
	appServiceEnvironment    = testkit.AppServiceEnvironment
	azSays                   = testkit.AzSays
	azdSays                  = testkit.AzdSays
	blankEnvironment         = testkit.BlankEnvironment
	bubble                   = testkit.Bubble
	certificateEnvironment   = testkit.CertificateEnvironment
	checkGoroutines          = testkit.CheckGoroutines
	ctx0                     = testkit.Ctx0
	delayed                  = testkit.Delayed
	entraError               = testkit.EntraError
	entraToken               = testkit.EntraToken
	errRefused               = testkit.ErrRefused
	get                      = testkit.Get
	getAll                   = testkit.GetAll
	getWithClaims            = testkit.GetWithClaims
	imdsStatus               = testkit.IMDSStatus
	imdsToken                = testkit.IMDSToken
	inPolicy                 = testkit.InPolicy
	issue                    = testkit.Issue
	newTool                  = testkit.NewTool
	noRetries                = testkit.NoRetries
	notOfAContext            = testkit.NotOfAContext
	record                   = testkit.Record
	requireJittered          = testkit.RequireJittered
	respond                  = testkit.Respond
	scopes                   = testkit.Scopes
	serviceFabricEnvironment = testkit.ServiceFabricEnvironment
	setenv                   = testkit.Setenv
	sleepUntil               = testkit.SleepUntil
	throttledOnce            = testkit.ThrottledOnce
	thumbprintOf             = testkit.ThumbprintOf
	tokenBody                = testkit.TokenBody
	waitForGoroutines        = testkit.WaitForGoroutines
	within                   = testkit.Within
	writeFile                = testkit.WriteFile
)

const (
	skip       = "; to skip this credential, set AZURE_TOKEN_CREDENTIALS to the name of another"
	noneWithID = "no identity with client ID " + someGUID + " is assigned to this host; assign it, or correct the ID in the options or AZURE_CLIENT_ID"
)

// asType finds an error of a type, as errors.AsType does from Go 1.26 on.
func asType[E error](err error) (e E, ok bool) { return e, errors.As(err, &e) }

// asCredentialError checks what each error of GetToken must be, and returns its reason.
func asCredentialError(t testing.TB, err error) managedid.Reason {
	t.Helper()
	testkit.RequireFinal(t, err)
	return managedid.ReasonOf(err)
}

// requireError compares an error's line, which ends with the address of its reason's help where it is one of the two types.
func requireError(t require.TestingT, err error, line string, of ...any) {
	if _, failed := asType[*managedid.AuthenticationFailedError](err); failed || managedid.ReasonOf(err) != "" {
		line += "; see " + managedid.ReasonOf(err).Help()
	}
	require.EqualError(t, err, line, of...)
}

// newFakeIMDS returns a fake and a credential of its own for it.
func newFakeIMDS(t testing.TB, s script) (*fakeIMDS, *managedid.ManagedIdentityCredential) {
	return newFakeIMDSWith(t, s, managedid.ManagedIdentityCredentialOptions{})
}

func newFakeIMDSWith(t testing.TB, s script, o managedid.ManagedIdentityCredentialOptions) (*fakeIMDS, *managedid.ManagedIdentityCredential) {
	t.Helper()
	blankEnvironment(t)
	f := &fakeIMDS{Script: s, Began: time.Now()}
	o.Transport = f
	if o.Cache == nil {
		o.Cache = managedid.NewTokenCache(nil)
	}
	return f, credentialWith(t, &o)
}

func credentialWith(t testing.TB, o *managedid.ManagedIdentityCredentialOptions) *managedid.ManagedIdentityCredential {
	t.Helper()
	c, err := managedid.NewManagedIdentityCredential(o)
	require.NoError(t, err)
	return c
}

func newSecret(t testing.TB, f *fakeEntra, tenant, client, secret string, o managedid.ClientSecretCredentialOptions) *managedid.ClientSecretCredential {
	t.Helper()
	blankEnvironment(t)
	if o.Transport == nil {
		o.Transport = f
	}
	c, err := managedid.NewClientSecretCredential(tenant, client, secret, &o)
	require.NoError(t, err)
	return c
}

func newDefault(t testing.TB, o managedid.DefaultAzureCredentialOptions) *managedid.DefaultAzureCredential {
	t.Helper()
	c, err := managedid.NewDefaultAzureCredential(&o)
	require.NoError(t, err)
	return c
}

// chainWithOther is a chain of one's own in which another link follows.
func chainWithOther(t *testing.T, c *managedid.ManagedIdentityCredential) *managedid.ChainedTokenCredential {
	t.Helper()
	chain, err := managedid.NewChainedTokenCredential([]azcore.TokenCredential{c, other{}}, nil)
	require.NoError(t, err)
	return chain
}

// exactCache refreshes five minutes before the expiry, not some more at random.
func exactCache() *managedid.TokenCache {
	return managedid.NewTokenCache(&managedid.TokenCacheOptions{RefreshBefore: tokens.DefaultRefreshBefore})
}
