package managedid

import (
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/testkit"
)

// What the tests share with internal/conformance.
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
	wire          = testkit.Wire
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
	errRefused               = testkit.ErrRefused
	get                      = testkit.Get
	getAll                   = testkit.GetAll
	getWithClaims            = testkit.GetWithClaims
	imdsStatus               = testkit.IMDSStatus
	imdsToken                = testkit.IMDSToken
	inPolicy                 = testkit.InPolicy
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
	tokenBody                = testkit.TokenBody
	within                   = testkit.Within
	writeFile                = testkit.WriteFile
)

// requireError compares an error's line, which ends with the address of its reason's help where it is one of the two types.
func requireError(t require.TestingT, err error, line string, of ...any) {
	if _, failed := asType[*AuthenticationFailedError](err); failed || ReasonOf(err) != "" {
		line += "; see " + ReasonOf(err).Help()
	}
	require.EqualError(t, err, line, of...)
}

// effort is what an error says of a request that was tried again.
var effort = regexp.MustCompile(`, \d+ tries in \d+[hms0-9]*`)

// requireGaveUp is requireError for a request that was tried again, whatever that took.
func requireGaveUp(t require.TestingT, err error, line string) {
	require.Regexp(t, effort, err.Error())
	line += "; see " + ReasonOf(err).Help()
	require.Equal(t, line, effort.ReplaceAllString(err.Error(), ""))
}

// TestMain fails where a goroutine of the package has outlived the tests.
func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }

// newFakeIMDS returns a fake and a credential of its own for it.
func newFakeIMDS(t testing.TB, s script) (*fakeIMDS, *ManagedIdentityCredential) {
	return newFakeIMDSWith(t, s, ManagedIdentityCredentialOptions{})
}

func newFakeIMDSWith(t testing.TB, s script, o ManagedIdentityCredentialOptions) (*fakeIMDS, *ManagedIdentityCredential) {
	t.Helper()
	blankEnvironment(t)
	f := &fakeIMDS{Script: s, Began: time.Now()}
	o.Transport = f
	if o.Cache == nil {
		o.Cache = NewTokenCache(nil)
	}
	c, err := NewManagedIdentityCredential(&o)
	require.NoError(t, err)
	return f, c
}

// asCredentialError checks what each error of GetToken must be, and returns its reason.
func asCredentialError(t testing.TB, err error) Reason {
	t.Helper()
	testkit.RequireFinal(t, err)
	return ReasonOf(err)
}
