// Command manifests decodes Kubernetes manifests into the API's own types, and fails if they have a field that the
// API does not, or a pod that could do more than it must. It is a module of its own, as the project uses no other.
package main

import (
	"fmt"
	"os"
	"strings"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	failed := false
	for _, name := range os.Args[1:] {
		text, err := os.ReadFile(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for i, document := range strings.Split(string(text), "\n---\n") {
			kind, err := check([]byte(document))
			if err != nil {
				fmt.Printf("%s, document %d: %v\n", name, i+1, err)
				failed = true
				continue
			}
			fmt.Printf("%s: %s\n", name, kind)
		}
	}
	if failed || len(os.Args) == 1 {
		os.Exit(1)
	}
}

// check returns the kind of a document.
func check(document []byte) (string, error) {
	var meta struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(document, &meta); err != nil {
		return "", err
	}
	kind := meta.APIVersion + " " + meta.Kind
	var set apps.StatefulSet
	into := map[string]any{
		"v1 Service":                    &core.Service{},
		"v1 ConfigMap":                  &core.ConfigMap{},
		"policy/v1 PodDisruptionBudget": &policy.PodDisruptionBudget{},
		"apps/v1 StatefulSet":           &set,
	}[kind]
	if into == nil {
		return "", fmt.Errorf("unknown kind %q", kind)
	}
	if err := yaml.UnmarshalStrict(document, into); err != nil {
		return "", err
	}
	pod := set.Spec.Template.Spec
	for _, c := range append(pod.InitContainers, pod.Containers...) {
		if c.Image == "" { // of a patch
			continue
		}
		s := c.SecurityContext
		switch {
		case s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation:
			return "", fmt.Errorf("container %s may gain privileges", c.Name)
		case s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem:
			return "", fmt.Errorf("container %s may write its root", c.Name)
		case s.Capabilities == nil || len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" || s.Capabilities.Add != nil:
			return "", fmt.Errorf("container %s has capabilities", c.Name)
		case c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero():
			return "", fmt.Errorf("container %s lacks resources", c.Name)
		}
	}
	if s := pod.SecurityContext; set.Spec.Selector != nil && // no patch
		(s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.SeccompProfile == nil || s.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault) {
		return "", fmt.Errorf("the pod may run as root, or without seccomp")
	}
	return kind, nil
}
