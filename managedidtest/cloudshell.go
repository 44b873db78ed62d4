package managedidtest

import (
	"net/http"
	"strconv"
	"time"
)

// cloudShellToken is the answer with a token. No answer is recorded. Microsoft's page "Acquire a token in Azure Cloud
// Shell" shows access_token. The other fields are from the page on the metadata service.
type cloudShellToken struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"` // always empty
	ExpiresIn    string `json:"expires_in"`    // seconds from now
	ExpiresOn    string `json:"expires_on"`    // seconds since 1970
	NotBefore    string `json:"not_before"`
	Resource     string `json:"resource"`
	TokenType    string `json:"token_type"`
}

// cloudShellUser is the user who is signed in. The client is Cloud Shell's application.
var cloudShellUser = Identity{ClientID: stableGUID("cloud shell application"), ObjectID: stableGUID("cloud shell user")}

// cloudShell answers like Cloud Shell's endpoint, for the signed-in user. The error for an unsupported audience is from
// Microsoft's page. The real list of audiences is not documented, so the emulator supports every audience.
func (s *state) cloudShell(t *inflight) answer {
	if t.request.Method != http.MethodPost {
		return notAllowed(http.MethodPost, cloudShellError(http.StatusMethodNotAllowed, "MethodNotAllowed",
			"The method must be POST."))
	}
	if v := t.request.Header.Values("Metadata"); len(v) != 1 || v[0] != "true" {
		return cloudShellError(http.StatusBadRequest, "MetadataHeaderMissing", "The Metadata header must be true.")
	}
	if len(t.form["resource"]) != 1 || t.form.Get("resource") == "" {
		return cloudShellError(http.StatusBadRequest, "AudienceNotSupported", "Audience "+t.form.Get("resource")+
			" is not a supported MSI token audience.")
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

// cloudShellError has the form of the documented error. All codes except AudienceNotSupported are made up.
func cloudShellError(status int, code, message string) answer {
	type inner struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	return jsonAnswer(status, CloudShell, struct {
		Error inner `json:"error"`
	}{inner{code, message}})
}
