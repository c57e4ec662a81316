package reform

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"memberly/peer/types"
)

// tell says what is stored, what re-forming would do, and what it risks.
func (o *order) tell(w io.Writer) {
	s, v, me := &o.stored, &o.stored.View, o.config.Name
	fmt.Fprintf(w, "State file %s of host %d (%s)\n", o.config.State, o.config.ID, me)
	if damage, _ := o.file.Damage(); damage != nil {
		fmt.Fprintf(w, "  damage    %v\n", damage)
	}
	made := time.Unix(0, int64(v.Group.Made)).UTC().Format("2006-01-02 15:04:05 MST")
	fmt.Fprintf(w, "  group     made by %s at %s (%d)\n", o.name(v.Group.Maker), made, v.Group.Made)
	fmt.Fprintf(w, "  view      %d: %s; its leader is %s\n", v.Number, o.names(v.Members), o.name(v.Leader))
	fmt.Fprintf(w, "  hosts     %s\n", o.listed())
	fmt.Fprintf(w, "  promised  %s\n", o.promised(s.Promised))
	fmt.Fprintf(w, "  accepted  %s\n", o.accepted())
	fmt.Fprintf(w, "  a quorum  %s\n\n", o.quorum())
	next := o.next(time.Now())
	fmt.Fprintf(w, "If a quorum can come back with its state files, start these hosts, and do not re-form: the group goes on by itself.\n"+
		"Else take, of the hosts that are left, the one that has stored the highest view: what only others know is lost.\n\n"+
		"Re-forming makes %s the only member of a new group: view %d, and fences from %d on, above all that this host knows of.\n"+
		"Its peer, once started, leads that group alone, and lets in the others: those that wait with state files of the old group,\n"+
		"after about ten seconds, and those that begin anew.\n\n", me, next.View.Number, next.Promised.Fence()+1)
	fmt.Fprintf(w, "What it risks: two groups at once, each with a leader. Hosts of the old group that come back with their old state\n"+
		"and are a quorum of it can go on without this host, if they do not hear it lead. When both groups meet, the new one,\n"+
		"as it was made later, gives up: view numbers and fences fall back. So first make sure of this:\n"+
		"- the lost hosts never run again with their old state: remove their state files, or their disks;\n"+
		"- nobody re-forms on a second host;\n"+
		"- hosts with a new, empty state file start only when this one leads.\n\n")
	fmt.Fprintf(w, "To do it, repeat the command with the number of the stored view at the end: %d\n", v.Number)
}

// listed says how many hosts the group has agreed on, and where the hosts file differs from that.
func (o *order) listed() string {
	file := o.config.Hosts
	var retired, unmarked, marked []types.ID
	var missing []string // lines
	for i, h := range o.hosts {
		id := types.ID(i + 1)
		if h.Retired {
			retired = append(retired, id)
		}
		switch {
		case i >= len(file):
			missing = append(missing, h.String())
		case h.Retired && !file[i].Retired:
			unmarked = append(unmarked, id)
		case !h.Retired && file[i].Retired:
			marked = append(marked, id)
		}
	}
	words := fmt.Sprintf("%d are agreed on", len(o.hosts))
	if len(retired) > 0 {
		words += fmt.Sprintf(", of them retired: %s", o.names(retired))
	}
	if len(missing) > 0 {
		words += fmt.Sprintf("; the hosts file lacks the lines %s: write them at its end", strings.Join(missing, ", "))
	}
	if len(unmarked) > 0 {
		words += fmt.Sprintf("; the hosts file does not retire %s: write ! before the name", o.names(unmarked))
	}
	if len(marked) > 0 {
		words += fmt.Sprintf("; the hosts file also retires %s", o.names(marked))
	}
	if n := len(file) - len(o.hosts); n > 0 {
		words += fmt.Sprintf("; the hosts file has %d more", n)
	}
	return words
}

// names names hosts in a sentence.
func (o *order) names(ids []types.ID) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = o.name(id)
	}
	return strings.Join(names, ", ")
}

func (o *order) promised(t types.Term) string {
	if t == (types.Term{}) {
		return "nothing"
	}
	return fmt.Sprintf("to follow no leader with a fence below %d, that of %s", t.Fence(), o.name(t.Peer))
}

func (o *order) accepted() string {
	a := &o.stored.Accepted
	words, host := "", o.name(a.Change.Member.ID)
	switch a.Change.Operation {
	case types.Add:
		words = "with " + host
	case types.Del:
		words = fmt.Sprintf("without %s (%v)", host, a.Change.Cause)
	case types.Grow:
		words = "with " + a.Change.Name + " as a new host"
	case types.Retire:
		words = "with " + host + " retired"
	default:
		return "nothing"
	}
	return fmt.Sprintf("view %d, %s, proposed by %s: the others may have agreed on it", o.stored.View.Number+1, words, o.name(a.Term.Peer))
}

// quorum says who must be there, besides this host, for a quorum of the stored view.
func (o *order) quorum() string {
	v, id := &o.stored.View, o.config.ID
	others := slices.DeleteFunc(slices.Clone(v.Members), func(m types.ID) bool { return m == id })
	n, me := len(v.Members), o.config.Name
	need := n / 2 // others, where half is not enough
	if n%2 == 0 && v.Leader == id {
		need--
	}
	switch {
	case !v.Has(id):
		return fmt.Sprintf("%d of %s; %s is not a member any more", n/2+1, o.names(v.Members), me)
	case need <= 0:
		return me + " alone: start its peer, and the group goes on; there is no need to re-form"
	case n%2 == 0 && v.Leader != id && need == 1:
		return fmt.Sprintf("%s with %s", me, o.names(others)) // two members: the other is the leader
	case n%2 == 0 && v.Leader != id:
		return fmt.Sprintf("%s with %d of %s; or with %d, if %s is among them", me, need, o.names(others), need-1, o.name(v.Leader))
	}
	return fmt.Sprintf("%s with %d of %s", me, need, o.names(others))
}
