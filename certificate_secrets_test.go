package managedid

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"
)

// The key, the password and each assertion, which Entra or something in its place repeats.
func TestSecrets_ofACertificateAppearNowhereButInTheBody(t *testing.T) {
	certs, key := chainAndKey(t)
	for name, echo := range echoes {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				out := &lockedBuffer{}
				azcoreLog.Store(out)
				defer azcoreLog.Store(nil)
				f := &fakeEntra{}
				f.script = func(n int, r *http.Request) (*http.Response, error) {
					if s := echo(f.forms[n].Get("client_assertion")); s != nil {
						return s(n, r)
					}
					return nil, nil
				}
				o := azcore.ClientOptions{Transport: f, TracingProvider: recorder(out), Logging: policy.LogOptions{IncludeBody: true}}
				o.PerCallPolicies = []policy.Policy{printer{out}}
				o.PerRetryPolicies = o.PerCallPolicies
				logger := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
				cache := NewTokenCache(nil)
				certificateEnvironment(t, filepath.Join("testdata", "certs", "openssl3.pfx"), "AZURE_CLIENT_CERTIFICATE_PASSWORD="+certificatePassword)
				file := newEnvironment(t, EnvironmentCredentialOptions{ClientOptions: o, Cache: cache, Logger: logger})
				given, err := NewClientCertificateCredential("other", someClient, certs, key, &ClientCertificateCredentialOptions{ClientOptions: o, Cache: cache, Logger: logger})
				require.NoError(t, err)
				callback, err := NewClientAssertionCredential("third", someClient, func(context.Context) (string, error) { return "a.s3cr3t.c", nil },
					&ClientAssertionCredentialOptions{ClientOptions: o, Cache: cache, Logger: logger})
				require.NoError(t, err)
				for _, c := range []azcore.TokenCredential{file, given, callback} {
					ctx, cancel := context.WithTimeout(ctx0, 10*time.Minute)
					_, err := c.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{vault}})
					cancel()
					printAll(out, err)
					printAll(out, c)
				}
				for _, c := range []*credential{file.credential, given.credential, callback.credential} {
					printAll(out, *c)
					printAll(out, *c.source)
				}
				synctest.Wait() // for the log
				printAll(out, cache)
				secrets := []string{certificatePassword, url.QueryEscape(certificatePassword), key.D.String(), fmt.Sprintf("%x", key.D), key.Primes[0].String(), "s3cr3t", secretToken}
				secrets = append(secrets, assertions(f)...)
				require.Contains(t, out.String(), "Credential: Entra")
				for line := range strings.SplitSeq(out.String(), "\n") {
					for _, secret := range secrets {
						require.False(t, strings.Contains(line, secret), "something secret in the output")
					}
				}
			})
		})
	}
}

// assertions are those that were sent, and their signatures.
func assertions(f *fakeEntra) (all []string) {
	for _, form := range f.forms {
		assertion := form.Get("client_assertion")
		all = append(all, assertion)
		if signature := assertion[strings.LastIndex(assertion, ".")+1:]; len(signature) > 9 {
			all = append(all, signature)
		}
	}
	return all
}

func TestSecrets_ofAFileThatCannotBeUsed(t *testing.T) {
	_, key := chainAndKey(t)
	for _, row := range unreadable {
		bubble(t, func(t *testing.T) {
			content := string(fixture(t, row.files...)) + row.data
			path := filepath.Join(t.TempDir(), "certificate")
			writeFile(t, path, content)
			certificateEnvironment(t, path, "AZURE_CLIENT_CERTIFICATE_PASSWORD=s3cr3t "+row.password)
			out := &lockedBuffer{}
			printAll(out, get(ctx0, newEnvironment(t, usingTransport(&fakeEntra{})), vault).err)
			require.False(t, strings.Contains(out.String(), "s3cr3t"))
			require.False(t, strings.Contains(out.String(), key.D.String()))
			for line := range strings.SplitSeq(content, "\n") {
				require.False(t, len(line) > 40 && strings.Contains(out.String(), line), row.name)
			}
		})
	}
}
