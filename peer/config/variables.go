package config

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"

	"memberly/peer/config/options"
)

// Lookup looks up an environment variable, as os.LookupEnv does; nil finds none.
type Lookup func(name string) (value string, set bool)

// For returns a Lookup that finds the variables of these flags alone.
func (l Lookup) For(flags ...string) Lookup {
	return func(name string) (string, bool) {
		for _, o := range Page.Options() {
			if o.Variable == name && slices.Contains(flags, o.Name) {
				return l(name)
			}
		}
		return "", false
	}
}

// take sets the flags that the command line has not set from their variables, and returns the names of those variables. A
// variable that is set to nothing is an error, like a flag that is: a key file whose name got lost must not mean no keys.
func take(flags *flag.FlagSet, variables Lookup) (taken []string, err error) {
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for _, o := range Page.Variables() {
		if given[o.Name] || variables == nil {
			continue
		}
		value, set := variables(o.Variable)
		if !set {
			continue
		}
		switch err := flags.Set(o.Name, value); {
		case err != nil && o.Arg == "":
			return nil, UsageError{fmt.Sprintf("%s=%q: give true or false, or unset it", o.Variable, value)}
		case err != nil:
			return nil, UsageError{fmt.Sprintf("%s=%q: %v, or unset it", o.Variable, value, err)}
		}
		taken = append(taken, o.Variable)
	}
	return taken, nil
}

// noting returns err with the variables that the configuration was taken from, as whoever reads it may not know of them.
func noting(err error, taken []string) error {
	if wrong, ok := errors.AsType[UsageError](err); ok && len(taken) > 0 {
		return UsageError{fmt.Sprintf("%s (from the environment: %s)", wrong.Problem, strings.Join(taken, ", "))}
	}
	return err
}

// HTTPAddr returns where commands ask a peer if they are not told: where the peer of this environment serves, or HTTPPort.
// The error names the variable.
func HTTPAddr(variables Lookup) (string, error) {
	const name = "MEMBERLY_HTTP"
	value, set := variables(name)
	if !set {
		return fmt.Sprint(HTTPPort), nil
	}
	if _, err := ParseHTTP(value); err != nil {
		return "", fmt.Errorf("%s=%q: %w, or unset it", name, value, err)
	}
	return value, nil
}

// Environment returns the names of all variables that configure a peer.
func Environment() (names []string) {
	for _, o := range Page.Variables() {
		names = append(names, o.Variable)
	}
	return names
}

// Usage returns the usage text of the daemon, without its commands. It ends with a newline.
func Usage() string {
	var pairs []string
	for _, o := range Page.Variables() {
		pairs = append(pairs, fmt.Sprintf("%s~(-%s)", o.Variable, o.Name))
	}
	return Page.Text() + "\nEnvironment: these options can come from variables too; the command line wins\n" +
		strings.ReplaceAll(options.Wrap(strings.Join(pairs, ", "), 2), "~", " ")
}
