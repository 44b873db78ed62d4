package managedidtest

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRequests_logEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []Request
		e := New(&Options{OnRequest: func(r Request) { seen = append(seen, r) }})
		e.Inject(Fault{Endpoint: AppService, Count: 1, Status: 500})
		client := e.SystemAssigned().ClientID
		imds := newGet(t, e, IMDS, "client_id="+client)
		begin := time.Now()
		send(t, e, imds)
		time.Sleep(time.Second)
		app := newGet(t, e, AppService)
		send(t, e, app)
		send(t, e, newGet(t, e, ""))
		want := []Request{
			{Time: begin, Endpoint: IMDS, Method: "GET", Host: "169.254.169.254",
				Path: "/metadata/identity/oauth2/token", Query: imds.URL.Query(),
				Header: imds.Header, Resource: vault, Identity: client, Status: 200},
			{Time: begin.Add(time.Second), Endpoint: AppService, Method: "GET", Host: "169.254.169.254",
				Path: "/msi/token", Query: app.URL.Query(),
				Header: app.Header, Resource: vault, Status: 500, Fault: true},
			{Time: begin.Add(time.Second), Method: "GET", Host: "169.254.169.254", Path: "/",
				Query: url.Values{"resource": {vault}}, Header: http.Header{}, Resource: vault, Status: 404},
		}
		require.Equal(t, want, e.Requests())
		require.Equal(t, want, seen)
	})
}

func TestRequests_areThereBeforeTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(nil)
		e.Inject(Fault{Delay: time.Second, Count: 1})
		var client sync.WaitGroup
		client.Go(func() { status(t, e) })
		synctest.Wait()
		require.Len(t, e.Requests(), 1)
		require.Zero(t, e.Requests()[0].Status)
		client.Wait()
		require.Equal(t, 200, e.Requests()[0].Status)
	})
}

func TestRequests_areCopies(t *testing.T) {
	e := New(nil)
	status(t, e)
	r := e.Requests()[0]
	r.Header.Set("Metadata", "x")
	r.Query["resource"][0] = "x"
	require.Equal(t, "true", e.Requests()[0].Header.Get("Metadata"))
	require.Equal(t, vault, e.Requests()[0].Query.Get("resource"))
}

func TestRequest_isOneLineWithoutSecrets(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	tests := []struct {
		want string
		r    Request
	}{
		{"03:04:05.006 GET /msi/token resource=https://vault.azure.net client_id=c 200 identity=c",
			Request{Method: "GET", Path: "/msi/token", Query: url.Values{"client_id": {"c"}, "x": {"secret"}},
				Resource: vault, Identity: "c", Status: 200}},
		{"03:04:05.006 GET /msi/auth resource=https://vault.azure.net clientid=c 200 identity=c",
			Request{Method: "GET", Path: "/msi/auth",
				Query: url.Values{"clientid": {"c"}}, Resource: vault, Identity: "c", Status: 200}},
		{"03:04:05.006 GET /msi/token no answer (fault)", Request{Method: "GET", Path: "/msi/token", Fault: true}},
		{"03:04:05.006 POST /T/oauth2/v2.0/token resource=https://vault.azure.net client_id=c 401",
			Request{Method: "POST", Path: "/T/oauth2/v2.0/token",
				Form: url.Values{"client_id": {"c"}, "client_secret": {"secret"}, "client_assertion": {"secret"},
					"scope": {"secret"}},
				Resource: vault, Status: 401}},
		{"03:04:05.006 G?T /a%0Ab resource=c??d mi_res_id=e?f 404",
			Request{Method: "G\nT", Path: "/a\nb", Query: url.Values{"mi_res_id": {"e\x1bf"}}, Resource: "c\u2028\rd",
				Status: 404}},
	}
	for _, tt := range tests {
		tt.r.Time = at
		tt.r.Header = http.Header{"X-Identity-Header": {"secret"}, "Secret": {"secret"}}
		for _, verb := range []string{"%v", "%+v", "%s", "%#v"} {
			require.Equal(t, tt.want, fmt.Sprintf(verb, tt.r))
		}
	}
}

func TestEmulator_printsNoSecret(t *testing.T) {
	options := &Options{Applications: []Application{{Secrets: []Secret{{Value: "a secret"},
		{Value: "a secret", Expires: time.Now()}}}}}
	srv := newServer(t, options)
	secrets := []string{srv.Environ(AppService)["IDENTITY_HEADER"], srv.Environ(AzureML)["MSI_SECRET"], "a secret",
		"eyJ"}
	f := newTokenFile(t, srv.Emulator, nil)
	getToken(t, srv.Emulator, AppService)
	requestToken(t, srv.Emulator)
	requestToken(t, srv.Emulator, withAssertion(read(t, f.Path))...)
	apps := srv.Applications()
	printed := map[string]string{}
	for _, v := range []any{
		srv, *srv, srv.Emulator, *srv.Emulator, srv.Requests(), srv.Requests()[1], &srv.Requests()[2], options,
		*options,
		apps, apps[0], &apps[0], apps[0].Secrets, apps[0].Secrets[0], &apps[0].Secrets[1], f,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			printed[fmt.Sprintf("%T with %s", v, verb)] = fmt.Sprintf(verb, v)
		}
	}
	for _, verb := range []string{"%q", "%x", "%d"} {
		printed[verb] = fmt.Sprintf(verb, apps) + fmt.Sprintf(verb, *srv)
	}
	b, err := json.Marshal(options.Applications)
	require.NoError(t, err)
	printed["JSON"] = string(b)
	for what, text := range printed {
		for i, secret := range secrets {
			require.False(t, strings.Contains(text, secret), "secret %d, %s", i, what)
			require.False(t, strings.Contains(text, hex.EncodeToString([]byte(secret))), "secret %d, %s", i, what)
		}
	}
	require.Equal(t, "{"+srv.URL+" "+srv.AuthorityHost+"}", fmt.Sprint(srv))
	require.Equal(t, "{***}", fmt.Sprint(apps[0].Secrets[0]))
	require.Equal(t, "{*** until 2026-01-02T03:04:05Z}", fmt.Sprint(Secret{"x",
		time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)}))
}

func TestRequests_logAnExchange(t *testing.T) {
	e := New(nil)
	app := e.Applications()[0]
	req := newExchange(t, e, "scope=https://a.example//.default openid")
	tokenIn(t, e, req)
	r := e.Requests()[0]
	require.Equal(t, Entra, r.Endpoint)
	require.Equal(t, "https://a.example/", r.Resource)
	require.Equal(t, app.ClientID, r.Identity)
	require.True(t, r.Form.Get("client_secret") == app.Secrets[0].Value)
	require.Regexp(t, `^\d\d:\d\d:\d\d\.\d{3} POST /`+e.TenantID()+
		`/oauth2/v2\.0/token resource=https://a\.example/ client_id=`+
		app.ClientID+` 200 identity=`+app.ClientID+`$`, r.String())
	r.Form["client_id"][0] = "changed"
	require.Equal(t, app.ClientID, e.Requests()[0].Form.Get("client_id"))

	for _, form := range [][]string{{"scope"}, {"scope=openid"}} {
		send(t, e, newExchange(t, e, form...))
	}
	send(t, e, newPost(t, e.URL+"/x", url.Values{"a": {"b"}}))
	log := e.Requests()
	require.Empty(t, log[1].Resource)
	require.Empty(t, log[2].Resource)
	require.Equal(t, url.Values{"a": {"b"}}, log[3].Form, "that of any POST")
}

func TestEmulator_isSafeForConcurrentUse(t *testing.T) {
	srv := newServer(t, &Options{UserAssigned: make([]Identity, 1),
		OnRequest: func(r Request) { r.Header.Set("a", "b") }})
	var users sync.WaitGroup
	for i := range 8 {
		users.Go(func() {
			for range 10 {
				resp, err := srv.Client().Do(newGet(t, srv.Emulator, AppService))
				if err == nil {
					resp.Body.Close()
				}
				resp, err = srv.Do(newGet(t, srv.Emulator, IMDS))
				if err == nil {
					resp.Body.Close()
				}
				srv.Requests()
				switch i {
				case 0:
					srv.Inject(Fault{Count: 1, Status: 500, Header: http.Header{"Server": {"x"}}})
				case 1:
					srv.ClearFaults()
				case 2:
					srv.RotateSecret()
				case 3:
					srv.Inject(Fault{Count: 1, Refused: true})
				case 4:
					srv.Inject(Fault{For: time.Millisecond, Refused: true})
				}
			}
		})
	}
	users.Wait()
}
