// Package managedid gets Microsoft Entra access tokens for the managed identity of the Azure host that a program runs
// on, with no secret in code or configuration, for the workload identity of a Kubernetes pod, or for an application with a
// client secret, a certificate or an assertion. A credential is an azcore.TokenCredential, for any Azure SDK client:
//
//	cred, err := managedid.NewDefaultAzureCredential(nil)
//
// Names and options are those of azidentity, so that moving over is a change of import.
//
// # Behavior
//
// Tokens are cached in memory, per process: a hit takes no lock and allocates nothing. A token is refreshed in the
// background five to ten minutes before it expires, and is handed out until it expires whatever the endpoint does. However many
// goroutines and credentials ask for one token, one request is under way for it. When an endpoint answers 429, or a server error
// with Retry-After, all credentials stop asking it until the time it named, for five minutes at most. All this is shared through
// a [TokenCache]: that of the process, unless a credential is given one, or has a Transport, policies or retry options of
// its own. What names a token there is all that changes it: authority, tenant, client, what proves the identity, scopes
// and the handling of CAE.
//
// A credential on its own, or one whose endpoint the host's variables announce, waits for an endpoint that is still booting
// as long as the caller's context allows. In a chain, an IMDS that isn't there is known within three seconds.
//
// # Errors
//
// Errors are one line. [CredentialUnavailableError] lets a chain go on, [AuthenticationFailedError] ends it; both have a
// [Reason]. They match context.Canceled and context.DeadlineExceeded only when the caller's own context has ended.
//
// # Logging, tracing and metrics
//
// A Logger in the options gets few records, and none at a hit:
//
//   - debug "token received": credential, scope, took, tries, expires, clientID (whose token the endpoint says it is, if it does)
//   - warn "token request failed", or "token refresh failed" where a valid token is still handed out: error, and left, for how long
//   - warn "endpoint throttled": status, until (when it may be asked again)
//   - info "credential chosen": chain, credential
//
// ClientOptions.TracingProvider gets a span for each request for a token, not for hits, with those of its tries in it, and
// [TokenCache.Stats] the numbers for metrics.
//
// Package managedidtest, beside this one, is an emulator to test against.
package managedid
