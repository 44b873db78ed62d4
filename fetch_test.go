package managedid

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// These are what internal/answer says of a successful answer that is unusable.
const (
	notJSON       = "the answer is not the JSON of a token"
	noAccessToken = "the answer has no access_token"
	noExpiry      = "the answer has neither a usable expires_on nor a usable expires_in"
	expiredToken  = "the token in the answer has expired already; check the clock of this machine"
)

// withToken is the JSON of a token and of the fields given.
func withToken(fields string) string {
	return fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer"%s}`, secretToken, fields)
}

func TestToken_isGotByAMachineWhoseClockIsWrong(t *testing.T) {
	for _, row := range []struct{ ahead, want time.Duration }{
		{70 * time.Minute, time.Hour - time.Second},
		{-70 * time.Minute, time.Hour - time.Second},
		{0, time.Hour},
	} {
		bubble(t, func(t *testing.T) {
			_, c := newFakeIMDS(t, func(_ int, r *http.Request) (*http.Response, error) {
				host := time.Now().Add(-row.ahead)
				body := withToken(fmt.Sprintf(`,"expires_on":"%d"`, host.Add(time.Hour).Unix()))
				return respond(r, 200, body, "Date", host.UTC().Format(http.TimeFormat), "Server", "IMDS/1"), nil
			})
			r := get(ctx0, c, vault)
			require.NoError(t, r.Err)
			require.Equal(t, row.want, time.Until(r.Token.ExpiresOn))
		})
	}
}
