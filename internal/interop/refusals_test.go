package interop

import (
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

// without is a transport to an emulator that loses a header on the way.
type without struct {
	header string
	to     *managedidtest.Emulator
}

func (w without) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Del(w.header)
	return w.to.RoundTrip(r)
}

var refusals = []struct {
	name   string
	host   managedidtest.Endpoint
	kind   int
	lost   string // header
	fault  managedidtest.Fault
	status int    // of every request
	want   string // pattern in the error
}{
	{"none assigned", managedidtest.IMDS, system, "", managedidtest.Fault{}, 400, "Identity not found"},
	{"not assigned", managedidtest.IMDS, byObjectID, "", managedidtest.Fault{}, 400, "Identity not found|isn't assigned to this resource"},
	{"no Metadata header", managedidtest.IMDS, system, "Metadata", managedidtest.Fault{}, 400, "Required metadata header not specified"},
	{"throttled for long", managedidtest.IMDS, system, "", managedidtest.Fault{Status: 429, Body: `{"error":"too_many_requests"}`}, 429, "429|too_many_requests"},
	{"not assigned", managedidtest.AppService, byClientID, "", managedidtest.Fault{}, 400, "Unable to load the proper Managed Identity"},
	{"no secret", managedidtest.AppService, system, "X-Identity-Header", managedidtest.Fault{}, 403, "403"},
	{"not assigned", managedidtest.AzureML, byClientID, "", managedidtest.Fault{}, 404, "404"},
	{"no secret", managedidtest.AzureML, system, "Secret", managedidtest.Fault{}, 403, "403"},
	{"no Metadata header", managedidtest.CloudShell, system, "Metadata", managedidtest.Fault{}, 400, "MetadataHeaderMissing"},
	{"unsupported audience", managedidtest.CloudShell, system, "", managedidtest.Fault{Status: 400,
		Body: `{"error":{"code":"AudienceNotSupported","message":"Audience x is not a supported MSI token audience."}}`}, 400, "AudienceNotSupported"},
	{"no Metadata header", managedidtest.Arc, system, "Metadata", managedidtest.Fault{}, 400, "400"},
	{"a key elsewhere", managedidtest.Arc, system, "", managedidtest.Fault{}, 401, "invalid file path"},
}

func TestManagedIdentity_refusals(t *testing.T) {
	for _, row := range refusals {
		for _, c := range clients {
			t.Run(string(row.host)+" "+row.name+" "+c.name, func(t *testing.T) {
				em := managedidtest.New(&managedidtest.Options{NoSystemAssigned: true, KeyDir: t.TempDir()})
				em.Setenv(t, row.host)
				if row.fault.Status != 0 {
					em.Inject(row.fault)
				}
				synctest.Test(t, func(t *testing.T) {
					get, err := c.new(row.kind, &http.Client{Transport: without{row.lost, em}})
					require.NoError(t, err)
					_, _, err = get(t.Context(), newResource())
					require.Error(t, err)
					require.Regexp(t, row.want, err.Error())
				})
				require.NotEmpty(t, em.Requests())
				for _, r := range em.Requests() {
					require.Equal(t, row.status, r.Status)
					require.Empty(t, r.Identity)
					require.Empty(t, r.Header.Get("Authorization"))
				}
			})
		}
	}
}

// The 21st request within a second is refused, and is repeated later.
func TestIMDS_limits(t *testing.T) {
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			em := managedidtest.New(nil)
			em.Setenv(t)
			synctest.Test(t, func(t *testing.T) {
				get, err := c.new(system, &http.Client{Transport: em})
				require.NoError(t, err)
				want := make([]int, 20, 22)
				for i := range want {
					want[i] = http.StatusOK
				}
				want = append(want, http.StatusTooManyRequests, http.StatusOK)
				for range 21 {
					resource := newResource()
					token, _, err := get(t.Context(), resource)
					require.NoError(t, err)
					_, err = managedidtest.VerifyToken(t.Context(), &http.Client{Transport: em}, em.JWKSURL(), token, resource)
					require.NoError(t, err)
				}
				var got []int
				for _, r := range em.Requests() {
					if r.Endpoint == managedidtest.IMDS {
						got = append(got, r.Status)
					}
				}
				require.Equal(t, want, got)
			})
		})
	}
}
