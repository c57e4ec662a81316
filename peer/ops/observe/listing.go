package observe

import (
	"fmt"
	"slices"
	"strings"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// This file says what there is to say of the hosts file, and of the hosts that the group has agreed on.

// hostStage is how far a host has come.
type hostStage string

const (
	proposed hostStage = "proposed" // only the hosts file has it, as far as the peer knows
	agreed   hostStage = "agreed"   // the group has agreed on it
	retired  hostStage = "retired"  // by the group or, while the peer knows of none, by the hosts file
)

func stageOf(l *handlers.Listing, id types.ID) hostStage {
	switch {
	case int(id) <= len(l.Hosts) && l.Hosts[id-1].Retired:
		return retired
	case int(id) <= l.Agreed:
		return agreed
	}
	return proposed
}

// isSettled reports whether the hosts files of the peer and of all members that it reaches have just what the group has
// agreed on.
func isSettled(l *handlers.Listing) bool {
	return l.Agreed > 0 && l.Wrong == 0 && !l.Bound && len(l.Ahead)+len(l.Behind)+len(l.Differ)+len(l.Running) == 0
}

// listed names hosts with their ids in a sentence.
func (n Names) listed(ids []types.ID) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = fmt.Sprintf("%s (host %d)", n.name(id), id)
	}
	return some(names)
}

// hostsFile says what is wrong with the hosts file, and what to do; "" if nothing is.
func (n Names) hostsFile(l *handlers.Listing) string {
	switch {
	case l.Wrong != 0:
		return fmt.Sprintf("Host %d has another name in the hosts file here, and the group has agreed on %q: correct that line. "+
			"The hosts in use stay", l.Wrong, n.name(l.Wrong))
	case l.Bound:
		return "The hosts file has changed since this host first ran with -state, and there is no group yet that it knows: " +
			"this peer joins a group, but makes none. If there is none yet, stop all hosts and remove their state files"
	}
	var sentences []string
	for _, words := range []string{n.ahead(l), n.behind(l), n.running(l)} {
		if words != "" {
			sentences = append(sentences, words)
		}
	}
	if len(differing(l)) > 0 && len(pending(l))+len(l.Behind) == 0 {
		sentences = append(sentences, "The hosts "+n.differ(l)+" not the same as the one here: make them the same")
	}
	return strings.Join(sentences, ". ")
}

// differing returns the members whose files are to be changed. Those that the file here retires run with a file that does not.
func differing(l *handlers.Listing) []types.ID { return without(l.Differ, l.Running) }

// without returns ids but those of others.
func without(ids, others []types.ID) []types.ID {
	return slices.DeleteFunc(slices.Clone(ids), func(id types.ID) bool { return slices.Contains(others, id) })
}

// differ says whose files are not the same, up to the verb.
func (n Names) differ(l *handlers.Listing) string {
	ids := differing(l)
	if len(ids) == 1 {
		return "file of " + n.list(ids) + " is"
	}
	return "files of " + n.list(ids) + " are"
}

// pending returns the hosts that the file adds, or retires, and that the group could add or retire now.
func pending(l *handlers.Listing) []types.ID { return without(l.Ahead, l.Running) }

// ahead says what the file has that the group has not, and why; "" for nothing.
func (n Names) ahead(l *handlers.Listing) string {
	ids := pending(l)
	added := slices.IndexFunc(ids, func(id types.ID) bool { return int(id) > l.Agreed })
	if added < 0 {
		added = len(ids)
	}
	var has []string
	if added < len(ids) {
		has = append(has, "has "+n.listed(ids[added:])+", which the group does not have yet")
	}
	if added > 0 {
		has = append(has, "retires "+n.listed(ids[:added])+", which the group has not retired yet")
	}
	why := "the leader waits until the hosts files of all members that it reaches are the same"
	if len(differing(l)) > 0 {
		why = "the " + n.differ(l) + " not the same: make the same change there"
	}
	if len(has) == 0 {
		return ""
	}
	return "The hosts file here " + strings.Join(has, ", and ") + ": " + why
}

// behind says what the group has agreed on that the file has not; "" for nothing.
func (n Names) behind(l *handlers.Listing) string {
	if len(l.Behind) == 0 {
		return ""
	}
	var added, retired []types.ID
	var newLines, marked []string
	for _, id := range l.Behind {
		host := types.Host{Name: n.name(id)}
		if int(id) <= len(l.Hosts) {
			host = l.Hosts[id-1]
		}
		line := fmt.Sprintf("%q as host %d", host, id)
		if host.Retired {
			retired, marked = append(retired, id), append(marked, line)
		} else {
			added, newLines = append(added, id), append(newLines, line)
		}
	}
	var did, todo []string
	if len(retired) > 0 {
		did = append(did, "does not retire "+n.listed(retired)+", which the group has retired")
		todo = append(todo, "write "+some(marked))
	}
	if len(added) > 0 {
		did = append(did, "lacks "+n.listed(added)+", which the group has")
		todo = append(todo, "add "+some(newLines)+" at its end")
	}
	return "The hosts file here " + strings.Join(did, ", and ") + ": " + strings.Join(todo, ", and ")
}

// some lists texts in a sentence, of many but the first.
func some(texts []string) string {
	words := strings.Join(texts[:min(len(texts), maxNames)], ", ")
	if more := len(texts) - maxNames; more > 0 {
		words += fmt.Sprintf(" and %d more", more)
	}
	return words
}

// running says which hosts the file retires that still run; "" for none.
func (n Names) running(l *handlers.Listing) string {
	switch len(l.Running) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("%s is retired in the hosts file here, and still runs: stop its peer", n.listed(l.Running))
	}
	return fmt.Sprintf("%s are retired in the hosts file here, and still run: stop their peers", n.listed(l.Running))
}
