package managedidtest

import (
	"strings"
	"time"
)

// serviceAccount is the prefix of a service account's subject. The namespace, a colon and the name follow.
const serviceAccount = "system:serviceaccount:"

// clusterKey signs the tokens of service accounts.
var clusterKey = newSigningKey()

// clusterIssuer returns the URL of the cluster's OpenID issuer, in AKS's format. Nothing is served there.
func clusterIssuer() string { return "https://oidc.prod-aks.azure.com/" + stableGUID("cluster") + "/" }

// podClaims are the claims of a projected token: Kubernetes' page "Managing Service Accounts".
type podClaims struct {
	Audience   []string `json:"aud"`
	Expires    int64    `json:"exp"`
	IssuedAt   int64    `json:"iat"`
	Issuer     string   `json:"iss"`
	ID         string   `json:"jti"`
	Kubernetes podOwner `json:"kubernetes.io"`
	NotBefore  int64    `json:"nbf"`
	Subject    string   `json:"sub"`
}

type podOwner struct {
	Namespace      string `json:"namespace"`
	Node           object `json:"node"`
	Pod            object `json:"pod"`
	ServiceAccount object `json:"serviceaccount"`
}

type object struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// podToken returns a token as kubelet requests it for a pod.
func podToken(o TokenFileOptions, now time.Time) string {
	namespace, name, _ := strings.Cut(strings.TrimPrefix(o.Subject, serviceAccount), ":")
	return signJWT(clusterKey(), "", podClaims{
		Audience:  []string{o.Audience},
		Expires:   now.Add(o.Lifetime).Unix(),
		IssuedAt:  now.Unix(),
		Issuer:    o.Issuer,
		ID:        newGUID(),
		NotBefore: now.Unix(),
		Subject:   o.Subject,
		Kubernetes: podOwner{
			Namespace:      namespace,
			Node:           object{"emulator-node", stableGUID("node")},
			Pod:            object{"emulator-pod", stableGUID("pod")},
			ServiceAccount: object{name, stableGUID(o.Subject)},
		},
	})
}
