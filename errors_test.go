package managedid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/internal/tokens"
)

// failure is one row of what an endpoint may say, and what the error must then be.
type failure struct {
	name        string
	id          ManagedIDKind
	status      int
	body        string
	reason      Reason
	unavailable bool
	want        string // the error's line after the names of credential and source
}

const (
	noIdentity = "no managed identity is assigned to this host; assign one, or name a user-assigned one"
	noneWithID = `no identity with client ID ` + someGUID + ` is assigned to this host; assign it, or correct the ID in the options or AZURE_CLIENT_ID`
	docker     = "connecting to 169.254.169.254:80: dial tcp 169.254.169.254:80: connectex: "
	kestrel    = `{"statusCode":400,"message":"Unable to load the proper Managed Identity.","correlationId":"` + someGUID + `"}`
)

func oauth(code, description string) string {
	return fmt.Sprintf(`{"error":%q,"error_description":%q,"timestamp":"2025-02-23 01:08:36Z","trace_id":"x"}`, code, description)
}

var imdsFailures = []failure{
	{"vector 5: no identity", nil, 400, oauth("invalid_request", "Identity not found"), ReasonIdentityNotFound, true,
		noIdentity + " (400 Bad Request, invalid_request: Identity not found)"},
	{"vector 4: not that identity", ClientID(someGUID), 400, oauth("invalid_request", "Identity not found"), ReasonIdentityNotFound, false,
		noneWithID + " (400 Bad Request, invalid_request: Identity not found)"},
	{"not that object ID", ObjectID(someGUID), 400, oauth("invalid_request", "Identity not found"), ReasonIdentityNotFound, false,
		strings.ReplaceAll(noneWithID, "client ID", "object ID") + " (400 Bad Request, invalid_request: Identity not found)"},
	{"not that identity, as 404", ClientID(someGUID), 404, oauth("invalid_request", "Identity not found"), ReasonIdentityNotFound, false,
		noneWithID + " (404 Not Found, invalid_request: Identity not found)"},
	{"several identities", nil, 400, oauth("invalid_request", "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request"),
		ReasonAmbiguousIdentity, false, "this host has several user-assigned identities; name one in the options or in AZURE_CLIENT_ID (400 Bad Request, invalid_request: " +
			"Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request)"},
	{"unknown resource", nil, 400, oauth("invalid_resource", "AADSTS500011: The resource principal named https://x was not found.\r\nTrace ID: 1\r\nTimestamp: 2"), ReasonInvalidScope, false,
		"the resource is unknown; correct the scope (400 Bad Request, invalid_resource: AADSTS500011: The resource principal named https://x was not found.)"},
	{"invalid scope", nil, 400, oauth("invalid_scope", "d"), ReasonInvalidScope, false, "the resource is unknown; correct the scope (400 Bad Request, invalid_scope: d)"},
	{"wrong api-version", nil, 400, `{"error":"Bad request. api-version is invalid or was not specified in the request.","newest-versions":["2025-01-01"]}`, "", false,
		"the request was refused (400 Bad Request, Bad request. api-version is invalid or was not specified in the request.)"},
	{"no Metadata header", nil, 400, oauth("bad_request_102", "Required metadata header not specified"), "", false,
		"the request was refused (400 Bad Request, bad_request_102: Required metadata header not specified)"},
	{"unauthorized client", nil, 400, oauth("unauthorized_client", "d"), "", false, "the request was refused (400 Bad Request, unauthorized_client: d)"},
	{"malformed URI", nil, 401, oauth("unknown_source", "d"), "", false, "the request was refused (401 Unauthorized, unknown_source: d)"},
	{"access denied", nil, 403, oauth("access_denied", "d"), "", false, "the request was refused (403 Forbidden, access_denied: d)"},
	{"405", nil, 405, oauth("e", ""), "", false, "the request was refused (405 Method Not Allowed, e)"},
	{"404", nil, 404, oauth("e", "d"), ReasonNotReady, false, "the endpoint is not ready, after all retries (404 Not Found, e: d)"},
	{"410", nil, 410, "", ReasonNotReady, false, "the endpoint is not ready, after all retries (410 Gone)"},
	{"429", nil, 429, oauth("e", "Temporarily throttled, too many requests"), ReasonThrottled, false,
		"the endpoint is throttling this host (429 Too Many Requests, e: Temporarily throttled, too many requests)"},
	{"500", nil, 500, oauth("unknown", "d"), ReasonNotReady, false, "the endpoint is not ready, after all retries (500 Internal Server Error, unknown: d)"},
	{"599", nil, 599, oauth("unknown", "d"), ReasonNotReady, false, "the endpoint is not ready, after all retries (599, unknown: d)"},
	{"vector 6: Docker Desktop in English", nil, 403, docker + "A socket operation was attempted to an unreachable network.", ReasonAbsent, true,
		"what answers at 169.254.169.254 is something else, perhaps a proxy (403 Forbidden)"},
	{"vector 6: Docker Desktop in Norwegian", nil, 403, docker + "Det ble forsøkt en socketoperasjon mot et nettverk som ikke kan nås.", ReasonAbsent, true,
		"what answers at 169.254.169.254 is something else, perhaps a proxy (403 Forbidden)"},
	{"vector 7: HTML", nil, 200, "<html>" + secretToken + "</html>", ReasonAbsent, true, "what answers at 169.254.169.254 is something else, perhaps a proxy (200 OK)"},
	{"vector 8: a redirect", nil, 302, oauth("e", "d"), ReasonAbsent, true, "what answers at 169.254.169.254 is something else, perhaps a proxy (302 Found)"},
	{"a proxy that wants a password", nil, 407, oauth("e", "d"), ReasonAbsent, true,
		"what answers at 169.254.169.254 is something else, perhaps a proxy (407 Proxy Authentication Required)"},
	{"vector 9: no token", nil, 200, `{"expires_in":"3599"}`, ReasonMalformedAnswer, false, noAccessToken},
	{"a token without an expiry", nil, 200, withToken(""), ReasonMalformedAnswer, false, noExpiry},
	{"an expired token", nil, 200, withToken(`,"expires_on":"1"`), ReasonMalformedAnswer, false, expiredToken},
}

var appServiceFailures = []failure{
	{"no identity", nil, 400, kestrel, ReasonIdentityNotFound, false, noIdentity + " (400 Bad Request: Unable to load the proper Managed Identity.)"},
	{"not that identity", ClientID(someGUID), 400, kestrel, ReasonIdentityNotFound, false,
		noneWithID + " (400 Bad Request: Unable to load the proper Managed Identity.)"},
	{"not that identity, in text", ClientID(someGUID), 400, "Unable to load requested managed identity.", ReasonIdentityNotFound, false, noneWithID + " (400 Bad Request)"},
	{"unknown resource", nil, 400, oauth("invalid_resource", "d"), ReasonInvalidScope, false, "the resource is unknown; correct the scope (400 Bad Request, invalid_resource: d)"},
	{"401", nil, 401, "", ReasonRejectedCredential, false, "IDENTITY_HEADER was refused; restart the app if the platform has changed it (401 Unauthorized)"},
	{"wrong header", nil, 403, "", ReasonRejectedCredential, false, "IDENTITY_HEADER was refused; restart the app if the platform has changed it (403 Forbidden)"},
	{"vector 8: a redirect", nil, 302, "", "", false, "the request was refused (302 Found)"},
	{"405", nil, 405, "", "", false, "the request was refused (405 Method Not Allowed)"},
	{"404", nil, 404, "<html>", ReasonNotReady, false, "the endpoint is not ready, after all retries (404 Not Found)"},
	{"429", nil, 429, "", ReasonThrottled, false, "the endpoint is throttling this host (429 Too Many Requests)"},
	{"500", nil, 500, `{"statusCode":500,"message":"An unexpected error occured while fetching the AAD Token."}`, ReasonNotReady, false,
		"the endpoint failed, after all retries; it says so for an unknown resource too, so check the scope " +
			"(500 Internal Server Error: An unexpected error occured while fetching the AAD Token.)"},
	{"502", nil, 502, "", ReasonNotReady, false, "the endpoint is not ready, after all retries (502 Bad Gateway)"},
	{"vector 7: HTML", nil, 200, "<html>" + secretToken + "</html>", ReasonMalformedAnswer, false, notJSON},
	{"vector 9: no token", nil, 200, `{"expires_in":"3599"}`, ReasonMalformedAnswer, false, noAccessToken},
	{"204", nil, 204, "", ReasonMalformedAnswer, false, notJSON},
}

func TestExplain_eachAnswerOfEachSource(t *testing.T) {
	blankEnvironment(t)
	explain(t, "IMDS", imdsFailures)
	appServiceEnvironment(t)
	explain(t, "App Service", appServiceFailures)
}

func explain(t *testing.T, source string, rows []failure) {
	for _, row := range rows {
		t.Run(source+", "+row.name, func(t *testing.T) {
			o := noRetries
			o.Transport = transportFunc(func(r *http.Request) (*http.Response, error) { return respond(r, row.status, row.body), nil })
			if source == string(SourceServiceFabric) {
				o = inPolicy(o.Transport)
				o.Retry = noRetries.Retry
			}
			began := time.Now()
			err := get(t.Context(), credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: o, ID: row.id}), vault).Err
			requireError(t, err, "ManagedIdentityCredential: "+source+": "+row.want)
			require.Equal(t, row.reason, asCredentialError(t, err))
			notOfAContext(t, err)
			if row.unavailable {
				require.IsType(t, &CredentialUnavailableError{}, err)
				return
			}
			failed := err.(*AuthenticationFailedError)
			require.Equal(t, row.status == 429, failed.RetryAfter.After(began))
			if row.status/100 == 2 {
				require.Nil(t, failed.RawResponse, "it may hold a token")
				return
			}
			require.Equal(t, row.status, failed.RawResponse.StatusCode)
			require.Equal(t, strings.ReplaceAll(row.body, someHeader, "REDACTED"), bodyOf(t, failed))
			require.Nil(t, failed.RawResponse.Request.Body)
			require.NotContains(t, fmt.Sprint(failed.RawResponse.Request.Header), someHeader)
		})
	}
}

func bodyOf(t *testing.T, e *AuthenticationFailedError) string {
	t.Helper()
	body, err := io.ReadAll(e.RawResponse.Body)
	require.NoError(t, err)
	return string(body)
}

func TestExplain_noAnswer(t *testing.T) {
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, Err: err}
	}
	for _, row := range []struct {
		err  error
		want string
	}{
		{dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), "dial: connection refused"},
		{dial(os.ErrDeadlineExceeded), "no answer in time"},
		{context.DeadlineExceeded, "no answer in time"},
		{errors.New("first\nsecond"), "first second"},
		{io.ErrUnexpectedEOF, "unexpected EOF"},
	} {
		o := noRetries
		o.Transport = transportFunc(func(*http.Request) (*http.Response, error) { return nil, row.err })
		blankEnvironment(t)
		err := get(t.Context(), credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: o}), vault).Err
		requireError(t, err, "ManagedIdentityCredential: IMDS: not found at 169.254.169.254: "+row.want)
		require.IsType(t, &CredentialUnavailableError{}, err)
		require.Equal(t, ReasonAbsent, asCredentialError(t, err))
		notOfAContext(t, err)

		appServiceEnvironment(t)
		err = get(t.Context(), credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: o}), vault).Err
		requireError(t, err, "ManagedIdentityCredential: App Service: no token from localhost:42356: "+row.want)
		require.IsType(t, &AuthenticationFailedError{}, err)
		require.Equal(t, ReasonNotReady, asCredentialError(t, err))
		notOfAContext(t, err)
	}
}

func TestError_eachWaiterHasAResponseOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		appServiceEnvironment(t)
		o := noRetries
		requests := 0
		o.Transport = transportFunc(func(r *http.Request) (*http.Response, error) {
			requests++
			return respond(r, 400, kestrel, "X-Correlation-Id", someGUID), delayed(r, time.Second)
		})
		c := credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: o})
		results := getAll(t.Context(), c, vault, vault)
		results = append(results, get(t.Context(), c, vault)) // the refusal is repeated for a second
		require.Equal(t, 1, requests)
		for _, r := range results {
			e := r.Err.(*AuthenticationFailedError)
			require.Equal(t, someGUID, e.RawResponse.Header.Get("X-Correlation-Id"))
			require.Equal(t, kestrel, bodyOf(t, e))
			require.Equal(t, "/msi/token", e.RawResponse.Request.URL.Path)
			require.Empty(t, e.RawResponse.Request.Header.Get("X-Identity-Header"))
			e.RawResponse.Header.Set("X-Correlation-Id", "changed")
			e.RawResponse.Request.URL.Path = "changed"
			e.RawResponse.Request.Header.Set("X-Identity-Header", "changed")
			e.Reason, e.RawResponse.Body = "", nil
		}
	})
}

func TestError_matchesAContextsErrorOnlyForTheCallerWhoseContextEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blankEnvironment(t)
		o := noRetries
		o.Transport = transportFunc(func(r *http.Request) (*http.Response, error) {
			return nil, errors.Join(delayed(r, time.Minute), context.Canceled)
		})
		c := credentialWith(t, &ManagedIdentityCredentialOptions{ClientOptions: o})
		patient := make(chan error)
		go func() { patient <- get(context.Background(), c, vault).Err }()
		deadline, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		left := get(deadline, c, vault).Err
		requireError(t, left, "ManagedIdentityCredential: IMDS: no token before the caller's context ended (nothing has answered at 169.254.169.254 for 1s): context deadline exceeded")
		require.Equal(t, context.DeadlineExceeded, errors.Unwrap(left))
		require.Equal(t, ReasonNotReady, asCredentialError(t, left))
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, get(cancelled, c, vault).Err, context.Canceled)
		err := <-patient
		notOfAContext(t, err)
		require.NoError(t, errors.Unwrap(err))
	})
}

func TestError_typesAreFoundThroughWrappers(t *testing.T) {
	for _, err := range []error{errOurs, errNotHere} {
		wrapped := fmt.Errorf("a client: %w", err)
		require.Equal(t, ReasonOf(err), asCredentialError(t, wrapped))
		require.NotSame(t, err, copyError(err))
		require.Equal(t, err.Error(), copyError(err).Error())
	}
	require.Equal(t, errHard, copyError(errHard))
	requireError(t, errNotHere, "not here")
	require.Empty(t, ReasonOf(errHard))
}

func TestErrors_ofACallerWhoLeavesSayWhatWentWrong(t *testing.T) {
	for _, row := range []struct {
		status int
		want   Reason
		line   string
	}{{503, ReasonThrottled, "503 Service Unavailable"}, {429, ReasonThrottled, "429 Too Many Requests"}} {
		bubble(t, func(t *testing.T) {
			f := &fakeEntra{Script: func(_ int, r *http.Request) (*http.Response, error) {
				return respond(r, row.status, "", "Retry-After", "30"), nil
			}}
			c := newSecret(t, f, someTenant, someClient, someSecret, ClientSecretCredentialOptions{ClientOptions: noRetries})
			ctx, cancel := context.WithCancel(ctx0)
			time.AfterFunc(5*time.Second, cancel)
			go func() { _ = get(ctx0, c, vault) }()
			time.Sleep(time.Second)
			err := get(ctx, c, "https://storage.azure.com/.default").Err
			require.ErrorIs(t, err, context.Canceled)
			requireError(t, err, "ClientSecretCredential: Entra: no token before the caller's context ended (the endpoint asked for a pause; the endpoint's last failure: "+row.line+"): context canceled")
			require.Equal(t, row.want, ReasonOf(err))
			failed, _ := asType[*AuthenticationFailedError](err)
			requireJittered(t, 30*time.Second, 5*time.Second+time.Until(failed.RetryAfter))
			err = get(ctx, c, "https://graph.microsoft.com/.default").Err
			requireError(t, err, "ClientSecretCredential: Entra: no token before the caller's context ended: context canceled")
			require.Empty(t, ReasonOf(err), "nothing was sent for it")
			time.Sleep(tokens.FlightLimit)
		})
	}
}

func TestReasonOf(t *testing.T) {
	require.Equal(t, ReasonThrottled, ReasonOf(fmt.Errorf("outer: %w", &AuthenticationFailedError{Reason: ReasonThrottled})))
	require.Equal(t, ReasonAbsent, ReasonOf(&CredentialUnavailableError{Reason: ReasonAbsent}))
	require.Empty(t, ReasonOf(errors.New("another")))
	require.Empty(t, ReasonOf(nil))
	require.EqualError(t, &AuthenticationFailedError{}, "authentication failed; see "+Reason("").Help())
}

// A line has one address, whatever it is made of.
func TestLineOf_takesAddressesAway(t *testing.T) {
	ours := &AuthenticationFailedError{Reason: ReasonNotReady, message: "x"}
	require.Equal(t, "x", lineOf(ours))
	require.Equal(t, "a: x and x", lineOf(fmt.Errorf("a: %w and %v", ours, ours)))
}

func TestErrors_haveTheEndpointsOwnWords(t *testing.T) {
	c := newSecret(t, &fakeEntra{Script: answerWith(401, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided. Trace ID: 1","error_codes":[7000215]}`)},
		someTenant, someClient, someSecret, ClientSecretCredentialOptions{})
	var e *AuthenticationFailedError
	require.ErrorAs(t, get(t.Context(), c, vault).Err, &e)
	require.Equal(t, "invalid_client", e.Code)
	require.Equal(t, "AADSTS7000215: Invalid client secret provided.", e.Description)
	printed, err := json.Marshal(e)
	require.NoError(t, err)
	require.JSONEq(t, `{"Reason":"rejected_credential","Code":"invalid_client","Description":"AADSTS7000215: Invalid client secret provided."}`, string(printed))
	printed, err = json.Marshal(&AuthenticationFailedError{RetryAfter: time.Unix(0, 0).UTC()})
	require.NoError(t, err)
	require.JSONEq(t, `{"Reason":"","RetryAfter":"1970-01-01T00:00:00Z"}`, string(printed))
}

func TestErrors_ofAUserPrintALine(t *testing.T) {
	require.Equal(t, "the credential is unavailable; see "+ReasonAbsent.Help(), (&CredentialUnavailableError{Reason: ReasonAbsent}).Error())
	require.Equal(t, "the credential is unavailable; see "+Reason("").Help(), (&CredentialUnavailableError{}).Error())
	require.Equal(t, "mine", NewCredentialUnavailableError("mine").Error())
}

func TestReason_valuesAreIdentifiers(t *testing.T) {
	for _, r := range []Reason{ReasonAbsent, ReasonNotReady, ReasonThrottled, ReasonIdentityNotFound, ReasonAmbiguousIdentity, ReasonInvalidScope,
		ReasonRejectedCredential, ReasonMalformedAnswer, ReasonConfiguration, ReasonPanic} {
		require.Regexp(t, `^[a-z]+(_[a-z]+)*$`, string(r))
		require.Contains(t, r.Help(), "/blob/"+version+"/")
	}
}
