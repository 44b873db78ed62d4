package managedidtest

import (
	"net/http"
	"strconv"
	"time"
)

// cloudShellToken is the answer with a token. None is recorded; Microsoft's page "Acquire a token in Azure Cloud Shell" shows
// that access_token is among its fields. The others are those of the metadata service's page.
type cloudShellToken struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"` // empty
	ExpiresIn    string `json:"expires_in"`    // seconds from now
	ExpiresOn    string `json:"expires_on"`    // seconds since 1970
	NotBefore    string `json:"not_before"`
	Resource     string `json:"resource"`
	TokenType    string `json:"token_type"`
}

// cloudShellUser is who is signed in, by way of Cloud Shell's own application.
var cloudShellUser = Identity{ClientID: stableGUID("cloud shell application"), ObjectID: stableGUID("cloud shell user")}

// cloudShell answers as Cloud Shell's endpoint does, for the user who is signed in. The refusal of an audience is that of
// Microsoft's page; which audiences the real one has on its list is not documented, so that here it is all.
func (s *state) cloudShell(t *turn) answer {
	if t.request.Method != http.MethodPost {
		return notAllowed(http.MethodPost, cloudShellError(http.StatusMethodNotAllowed, "MethodNotAllowed", "The method must be POST."))
	}
	if v := t.request.Header.Values("Metadata"); len(v) != 1 || v[0] != "true" {
		return cloudShellError(http.StatusBadRequest, "MetadataHeaderMissing", "The Metadata header must be true.")
	}
	if len(t.form["resource"]) != 1 || t.form.Get("resource") == "" {
		return cloudShellError(http.StatusBadRequest, "AudienceNotSupported", "Audience "+t.form.Get("resource")+" is not a supported MSI token audience.")
	}
	resource, now := t.form.Get("resource"), time.Now()
	token := s.tokens.get(&cloudShellUser, resource, now)
	a := jsonAnswer(http.StatusOK, CloudShell, cloudShellToken{
		AccessToken: token.raw,
		ExpiresIn:   seconds(token.expires.Sub(now)),
		ExpiresOn:   strconv.FormatInt(token.expires.Unix(), 10),
		NotBefore:   strconv.FormatInt(token.notBefore.Unix(), 10),
		Resource:    resource,
		TokenType:   "Bearer",
	})
	a.identity = cloudShellUser.ClientID
	return a
}

// cloudShellError has the form of the documented refusal. Other codes than its are made up.
func cloudShellError(status int, code, message string) answer {
	type inner struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	return jsonAnswer(status, CloudShell, struct {
		Error inner `json:"error"`
	}{inner{code, message}})
}
