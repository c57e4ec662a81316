package observe

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// starting is what is said of a peer that has taken no step.
const starting = "the peer is still starting"

// maxNames is how many hosts a sentence names.
const maxNames = 8

// Names are the names of all hosts, with which sentences are made.
type Names struct{ *types.Names }

func (n Names) name(id types.ID) string { return cmp.Or(n.Name(id), "no host") }

// list names hosts in a sentence.
func (n Names) list(ids []types.ID) string {
	if len(ids) == 0 {
		return "no host"
	}
	names := make([]string, 0, maxNames)
	for _, id := range ids[:min(len(ids), maxNames)] {
		names = append(names, n.name(id))
	}
	list := strings.Join(names, ", ")
	if more := len(ids) - len(names); more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}

// summary says in one line what the peer, which leads now or does not, is.
func (s *Server) summary(st *handlers.Status, leads bool, missing []missingJSON) (words string) {
	me := s.config.Names.name(st.ID)
	if st.Standing == types.Returned {
		return fmt.Sprintf("%s has returned, and has view %d stored", me, st.Stored)
	}
	if st.Standing != types.Joined {
		return fmt.Sprintf("%s is in no group", me)
	}
	place := fmt.Sprintf("view %d with %s", st.View.Number, count(len(st.View.Members), "member"))
	if len(missing) > 0 {
		place = fmt.Sprintf("view %d with %d of %d hosts", st.View.Number, len(st.View.Members), len(st.View.Members)+len(missing))
		defer func() { words += "; " + s.missing(missing) }()
	}
	switch {
	case st.Halt == handlers.LeavesView:
		return fmt.Sprintf("%s is leaving %s", me, place)
	case leads:
		return fmt.Sprintf("%s leads %s", me, place)
	case st.Leads:
		return fmt.Sprintf("%s led %s, and its lease has ended", me, place)
	case st.Halt == handlers.Going || st.Halt == handlers.NotStoring:
		return fmt.Sprintf("%s follows %s in %s", me, s.config.Names.name(st.Follows), place)
	}
	return fmt.Sprintf("%s holds %s, and the group cannot make progress", me, place)
}

// missing says which hosts are no members, and since when.
func (s *Server) missing(hosts []missingJSON) string {
	var words []string
	for _, m := range hosts[:min(len(hosts), maxNames)] {
		is := map[string]string{"left": "left", "expelled": "was expelled"}[m.State]
		if at := shortClock(m.Since, time.Now()); is != "" {
			words = append(words, m.Name+" "+is+" at "+at)
		} else {
			words = append(words, m.Name+" is missing since "+at)
		}
	}
	if more := len(hosts) - len(words); more > 0 {
		words = append(words, fmt.Sprintf("%d more are missing", more))
	}
	return strings.Join(words, ", ")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// halt says why the group cannot make progress, and which hosts it waits for.
func (n Names) halt(h handlers.Halt, awaited []types.ID) string {
	names := n.list(awaited)
	switch h {
	case handlers.Banned:
		return "it was expelled from the group, and stays out until it is started again"
	case handlers.NoAnswers:
		return "it leads, but too few members answer; it waits for " + names
	case handlers.NoGrants:
		return "no member leads; it stands for election and waits for the vote of " + names
	case handlers.NoLeader:
		return "no member leads; the next to stand for election is " + names
	case handlers.LeavesView:
		return "it is leaving the group"
	case handlers.NotStoring:
		return "its own disk does not store what this peer must remember, so the group may go on, but without its vote: check the disk of its state file"
	case handlers.Going:
		return "the group makes progress"
	}
	return "it waits " + n.waiting(h, awaited)
}

// waiting says what a peer waits for whose group cannot go on, or that is in none, as the end of a sentence.
func (n Names) waiting(h handlers.Halt, awaited []types.ID) string {
	names := n.list(awaited)
	switch {
	case h == handlers.NoGroup && len(awaited) == 0:
		return "to be let into the group; no host that runs is in one that can go on"
	case h == handlers.NoGroup:
		return "to be let into the group; no answer from " + names
	case h == handlers.JoinsOnly && len(awaited) == 0:
		return "to be let into a group, and makes none itself (-join-only); no host that runs is in one that can go on"
	case h == handlers.JoinsOnly:
		return "to be let into a group, and makes none itself (-join-only); no answer from " + names
	case h == handlers.Unfounded && len(awaited) == 0:
		return "to form a group, which it is about to do"
	case h == handlers.Unfounded:
		return "to form a group: cannot tell whether these hosts run: " + names
	case h == handlers.Returning && len(awaited) == 0:
		return "to be let into the group again, or to go on with the view that it has stored"
	case h == handlers.Returning:
		return "to be let into the group again, or to go on with the view that it has stored; no sign yet of " + names
	case h == handlers.NoVotes && len(awaited) == 0:
		return "to form a group, which the hosts are about to do"
	case h == handlers.NoVotes:
		return "to form a group, for which more than half of the hosts must agree; no vote from " + names
	case h == handlers.NoMaker:
		return "to form a group, which is for " + names + " to do: the hosts have agreed on that"
	case h == handlers.NoDisk || h == handlers.NotStoring:
		return "for its own disk, which has not stored what this peer must remember: check the disk of its state file"
	case h == handlers.NoNames:
		return "to form a group: the name service knows none of the other hosts: " + names +
			"; check their names in the hosts file, and the name service"
	}
	return "for a quorum of the group; missing: " + names
}

// lossWords says which members the group could lose now.
func (s *Server) lossWords(st *handlers.Status) string {
	spare, leader := st.Spare, s.config.Names.name(st.View.Leader)
	switch {
	case st.Standing != types.Joined:
		return "it is in no group"
	case st.Halt == handlers.LeavesView:
		return s.config.Names.halt(st.Halt, nil)
	case !st.Quorate:
		return "none: it cannot make progress already"
	case len(st.View.Members) == 1:
		return "none: there is one member"
	case spare.ExceptLeader == 0:
		return "none: it needs every reachable member"
	case spare.Any == 0:
		return fmt.Sprintf("any %d at once, but not the leader (%s)", spare.ExceptLeader, leader)
	case spare.ExceptLeader > spare.Any:
		return fmt.Sprintf("any %d at once, or %d if the leader (%s) is not among them", spare.Any, spare.ExceptLeader, leader)
	}
	return fmt.Sprintf("any %d at once", spare.Any)
}

// seconds formats a duration for a reader.
func seconds(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// event says in words what happened.
func (n Names) event(e *handlers.Event) string {
	switch e.Kind {
	case handlers.Failed:
		words := n.name(e.Host) + " is unreachable"
		if e.Host == e.Leader {
			words = n.name(e.Host) + ", the leader, is unreachable"
		}
		if e.Silence != handlers.Never {
			words += ", last heard " + seconds(e.Silence) + " earlier"
		}
		return words
	case handlers.Said:
		return e.Text
	case handlers.FilesDiffer:
		return fmt.Sprintf("The hosts file of %s differs from the one here: use the same file everywhere, "+
			"names in the same order", n.name(e.Host))
	case handlers.MonitorDiffers:
		return fmt.Sprintf("%s runs with another -monitor than this peer: give the same -monitor everywhere", n.name(e.Host))
	case handlers.RunsTwice:
		return fmt.Sprintf("%s runs twice, at %v and at %v: stop one", n.name(e.Host), e.Lives[0], e.Lives[1])
	case handlers.StateOld:
		return "The state file is older than what the group knows of this host, so it is not used: never put back an old copy"
	case handlers.HostsFile:
		return n.hostsFile(e.Listing)
	case handlers.Unlisted:
		return fmt.Sprintf("%s does not list this host yet: write this host's line into the hosts file there too, "+
			"and send its peer SIGHUP or run memberly reload", n.name(e.Host))
	case handlers.SelfRetired:
		return fmt.Sprintf("The group of %s has retired this host, whose id is never used again: "+
			"add a new line for it at the end of all hosts files", n.name(e.Host))
	case handlers.Leads:
		return fmt.Sprintf("it leads, with fence %d", e.Fence)
	case handlers.Ceased:
		return fmt.Sprintf("it has ceased to lead with fence %d", e.Fence)
	case handlers.Halted:
		return n.halt(e.Halt, e.Awaited)
	}
	words := n.cause(e)
	if e.Answers > 0 {
		words += fmt.Sprintf("; %s, %d needed", count(e.Answers, "answer"), e.Needed)
	}
	if e.Took != handlers.Never {
		words += "; took " + seconds(e.Took)
	}
	return words
}

// cause says why there is a new view.
func (n Names) cause(e *handlers.Event) string {
	host, asked := n.name(e.Change.Member.ID), n.name(e.Asked)
	switch {
	case e.Made:
		return asked + " made the group"
	case e.Change.Operation == types.Grow: // the peer may not list it yet
		return fmt.Sprintf("%s was added as host %d", cmp.Or(e.Change.Name, host), e.Change.Member.ID)
	case e.Change.Operation == types.Retire:
		return host + " was retired"
	case e.Change.Operation == types.Add:
		return host + " asked to join"
	case e.Change.Operation == types.Nothing && e.Asked != 0:
		return asked + " asked to join, and was let in"
	case e.Change.Operation == types.Nothing:
		return "views in between were missed"
	}
	switch e.Change.Cause {
	case types.Left:
		return host + " asked to leave"
	case types.Restarted:
		return host + " was restarted; removed by " + asked
	case types.Expelled:
		return host + " was expelled; removed by " + asked
	}
	return host + " was unreachable; removed by " + asked
}
