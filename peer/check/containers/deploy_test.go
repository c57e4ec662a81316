package containers_test

import (
	"strings"
	"testing"
)

// deployed are the files that docs/deploy.md quotes, with the language of the quotation.
var deployed = map[string]string{
	"memberly.service": "ini", "state.conf": "ini", "key.conf": "ini",
	"compose.yaml": "yaml", "compose-keys.yaml": "yaml",
	"kubernetes.yaml": "yaml", "kubernetes-keys.yaml": "yaml",
}

// TestDeployQuotes checks that docs/deploy.md quotes the files of docs/deploy as they are.
func TestDeployQuotes(t *testing.T) {
	t.Parallel()
	page := readFile(t, "docs/deploy.md")
	for name, language := range deployed {
		quoted := "(deploy/" + name + "):\n\n```" + language + "\n" + readFile(t, "docs/deploy/"+name) + "```\n"
		if !strings.Contains(page, quoted) {
			t.Errorf("docs/deploy.md does not quote docs/deploy/%s as it is, below its link", name)
		}
	}
}
