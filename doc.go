// Package managedid gets Microsoft Entra access tokens for the managed identity of the Azure host that a program runs
// on, with no secret in code or configuration, for the workload identity of a Kubernetes pod, or for an application with a
// client secret, a certificate or an assertion. A credential is an azcore.TokenCredential, for any Azure SDK client:
//
//	cred, err := managedid.NewDefaultAzureCredential(nil)
//	if err != nil {
//		return err
//	}
//	client, err := azsecrets.NewClient("https://my-vault.vault.azure.net", cred, nil)
//
// Names and options are those of azidentity, so that moving over is a change of import.
//
// # Which credential
//
// [DefaultAzureCredential] asks the environment, workload identity and managed identity in turn, so that one program runs on every host.
// A program that knows its host may name the credential: [ManagedIdentityCredential] for the identity of the host, whatever it
// is (its [Source] is detected), [WorkloadIdentityCredential] for a pod, [EnvironmentCredential],
// [ClientSecretCredential], [ClientCertificateCredential] and [ClientAssertionCredential] for an application, and
// [AzureCLICredential] and [AzureDeveloperCLICredential] for a developer's sign-in. [ChainedTokenCredential] asks several in turn.
//
// # Behavior
//
// Tokens are cached in memory, per process: a hit takes no lock and allocates nothing. A token is refreshed in the
// background five to ten minutes before it expires, and is handed out until it expires whatever the endpoint does. However many
// goroutines and credentials ask for one token, one request is under way for it; a second one goes out beside it where it has no answer
// for three seconds. When an endpoint answers 429, or a server error with Retry-After, all credentials stop asking it until the time it
// named, for five minutes at most, or for some seconds where it named none; a caller without a token waits if the pause ends before its
// deadline, or within three minutes where it has none, else fails at once. Who waits at an endpoint's limit is served by deadline, the
// earliest first. While an endpoint fails, it is tried about once a second as long as new callers come. All this is shared through
// a [TokenCache]: that of the process, unless a credential is given one, or has a Transport, policies or retry options of
// its own. What names a token there is all that changes it: authority, tenant, client, what proves the identity, scopes
// and the handling of CAE.
//
// A credential on its own, or one whose endpoint the host's variables announce, waits for an endpoint that is still booting
// as long as the caller's context allows. In a chain, an IMDS that isn't there is known within three seconds. One that is connected to and
// says nothing is passed over when a second connection was silent too, and asked again when the next link's token is refreshed. A request
// that was sent goes on when its callers have left, for three minutes at most: the next caller has its token. One that was not leaves
// the queue.
//
// A panic of a Transport, policy, tracer, logger or callback is an error for those who wait, of [ReasonPanic], and ends nothing else.
//
// # Errors
//
// Errors are one line, which ends with the address of docs/troubleshooting.md's section about it. [CredentialUnavailableError] lets a
// chain go on, [AuthenticationFailedError] ends it; both have a [Reason], which [ReasonOf] finds in any error:
//
//	if managedid.ReasonOf(err) == managedid.ReasonIdentityNotFound {
//
// They match context.Canceled and context.DeadlineExceeded only when the caller's own context has ended.
//
// # What a chain would do, and why
//
// [DefaultAzureCredential.Explain] tells what each link of the chain is set up with, without asking for a token: which variables and files,
// which endpoint, for whom, and what is missing. Its [Report] prints as a table:
//
//	fmt.Print(cred.Explain(ctx, nil))
//
// examples/doctor is the same as a program.
//
// # Logging, tracing and metrics
//
// A Logger in the options gets few records, and none at a hit:
//
//   - debug "token received": credential, source, identity (who was asked for), scope, took, tries, expires, and clientID, whose token
//     the endpoint says it is, where it does
//   - warn "token request failed", or "token refresh failed" where a valid token is still handed out: the first six of these, reason,
//     error, and left, for how long that token is valid
//   - warn "caller left without a token", at the first whose context ends where the endpoint has failed meanwhile: credential, source,
//     identity, scope, reason, error; an SDK's client may say no more than "context deadline exceeded"
//   - debug "try failed" (another may follow): source, endpoint, try, failure (a status, or what the connection met)
//   - warn "endpoint throttled": the same, and until
//   - info "credential chosen": chain, credential, source, identity; before another search, "the links before the chosen credential are
//     asked again, since one of them had said nothing"
//   - error "panic": in (whose code), stack; never the panic's value
//
// ClientOptions.TracingProvider gets a span for each request for a token, not for hits, with those of its tries in it, and
// [TokenCache.Stats] the numbers for metrics.
//
// # Tests
//
// Package managedidtest, beside this one, is an emulator to test against: over sockets, and without, in fake time.
package managedid
