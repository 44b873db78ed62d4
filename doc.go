// Package managedid gets Microsoft Entra access tokens. It gets them for the managed identity of the Azure host that a
// program runs on, with no secret in code or configuration. It also gets them for the workload identity of a Kubernetes
// pod, and for an application with a client secret, a certificate or an assertion. Each credential is an
// azcore.TokenCredential, and works with any Azure SDK client:
//
//	cred, err := managedid.NewDefaultAzureCredential(nil)
//	if err != nil {
//		return err
//	}
//	client, err := azsecrets.NewClient("https://my-vault.vault.azure.net", cred, nil)
//
// Names and options are those of azidentity, so a program moves over by a change of imports.
//
// # Which credential
//
// [DefaultAzureCredential] asks the environment, workload identity and managed identity in turn, so one program runs on
// every host. A program that knows its host can name the credential:
//
//   - [ManagedIdentityCredential] is for the identity of the host. It detects the [Source].
//   - [WorkloadIdentityCredential] is for a pod.
//   - [EnvironmentCredential], [ClientSecretCredential], [ClientCertificateCredential] and [ClientAssertionCredential]
//     are for an application.
//   - [AzureCLICredential] and [AzureDeveloperCLICredential] are for a developer's sign-in.
//   - [ChainedTokenCredential] asks several credentials in turn.
//
// # Behavior
//
// Tokens are cached in memory, per process. A cache hit takes no lock and allocates nothing. A token is refreshed in
// the background, five to ten minutes before it expires. It is returned until it expires, whatever the endpoint does.
//
// However many goroutines and credentials want the same token, one request is under way for it. If it has no answer
// after three seconds, a second one is sent beside it. A request that was sent goes on when its callers have left, for
// three minutes at most, and its token serves the next caller. A request that was not sent leaves the queue with its
// last caller.
//
// An endpoint asks for a pause with a 429, or with a server error that has a Retry-After. All credentials then stop
// sending to it until the time that it named, for five minutes at most, or for some seconds if it named none. A caller
// without a token waits if the pause ends before its deadline, or within three minutes if it has none. Otherwise it
// fails at once. Callers that wait at an endpoint's limit are served by deadline, the earliest first. While an endpoint
// fails, it is tried about once a second as long as new callers come.
//
// Credentials share all this through a [TokenCache]. That is the cache of the process, unless a credential is given
// another, or has a Transport, policies or retry options of its own. Two credentials share a token only if they agree
// on everything that changes it: authority, tenant, client, proof of the identity, scopes and handling of CAE.
//
// An endpoint may still be booting. A credential waits for it as long as the caller's context allows, if it is not a
// link of a chain or if the host's variables announce the endpoint. In a chain, it takes three seconds at most to find
// that IMDS is absent. An IMDS that accepts connections and gives no answer is passed over after a second silent
// connection. The chain asks it again when the next link's token is refreshed.
//
// If a Transport, policy, tracer, logger or callback panics, those who wait for it get an error of [ReasonPanic].
// Nothing else ends.
//
// # Errors
//
// An error is one line. The line ends with the address of the section of docs/troubleshooting.md that explains it. A
// [CredentialUnavailableError] lets a chain go on, and an [AuthenticationFailedError] ends the search. Both have a
// [Reason], and [ReasonOf] finds it in any error:
//
//	if managedid.ReasonOf(err) == managedid.ReasonIdentityNotFound {
//
// Both types match context.Canceled and context.DeadlineExceeded only when the caller's own context has ended.
//
// # What a chain would do, and why
//
// [DefaultAzureCredential.Explain] reports how each link of the chain is configured, without requesting a token. It
// names the variables and files, the endpoint, the identity, and what is missing. Every other credential has an Explain
// too. The [ChainReport] prints as a table:
//
//	fmt.Print(cred.Explain(ctx, nil))
//
// examples/doctor does the same as a program.
//
// # Logging, tracing and metrics
//
// A Logger in the options gets few records, and none for a cache hit:
//
//   - debug "token received": credential, source, identity (the requested one), scope, took, tries, expires, and
//     clientID if the endpoint says whose token it is
//   - warn "token request failed", or "token refresh failed" if a valid token is still returned: credential, source,
//     identity, scope, took, tries, reason, error, and for a refresh left, the time for which that token is valid
//   - warn "caller left without a token", for the first caller of a request whose context ends, if the endpoint has
//     failed meanwhile: credential, source, identity, scope, reason, error; the SDK client may report only "context
//     deadline exceeded"
//   - debug "try failed", after which another try may follow: source, endpoint, try, failure (a status, or the error of
//     the connection)
//   - warn "endpoint throttled": source, endpoint, try, failure, until
//   - info "credential chosen": chain, credential, source, identity; the same attributes come with "the links before
//     the chosen credential are asked again, since one of them had said nothing"
//   - error "panic": in (whose code panicked), stack; never the value of the panic
//
// ClientOptions.TracingProvider gets a span for each token request, which contains the spans of its tries, and none for
// a cache hit. [TokenCache.Stats] returns the numbers for metrics. [ProcessCache] is the cache of the credentials that
// are given none.
//
// # Tests
//
// Package managedidtest is an emulator to test against, over sockets or without them in fake time.
package managedid
