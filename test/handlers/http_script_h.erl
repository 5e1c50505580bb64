%% A plain or loop handler that does what the case's script says: `init', and for loops `info' and `terminate'.
%% Its process is watched, as `exit'. Without `terminate' in the options, terminate/3 only notes its reason.
-module(http_script_h).

-export([init/2, info/3, terminate/3]).

init(Req, #{probe := Probe, init := Script} = State) ->
    probe:watch(Probe),
    Script(Req, State).

info(Message, Req, #{probe := Probe, info := Script} = State) ->
    probe:note(Probe, {info, Message}),
    Script(Message, Req, State).

terminate(Reason, Req, #{probe := Probe} = State) ->
    probe:note(Probe, {terminate, Reason}),
    case State of
        #{terminate := Script} -> Script(Reason, Req, State);
        #{} -> ok
    end.
