%% A stream handler that returns, or does, what the case's script says: funs for `init', `data', `info' and `terminate'
%% in the listener's env. A callback without a fun passes on to the next handler, or does nothing.
-module(command_stream_h).
-behaviour(cowboy_stream).

-export([init/3, data/4, info/3, terminate/3, early_error/5]).

init(Id, Req, #{env := #{script := Script, probe := Probe}} = Opts) ->
    State = #{script => Script, probe => Probe, next => undefined},
    case Script of
        #{init := Init} ->
            {Init(Req, State), State};
        #{} ->
            {Commands, Next} = cowboy_stream:init(Id, Req, Opts),
            {Commands, State#{next := Next}}
    end.

data(_, IsFin, Data, #{script := #{data := Script}} = State) ->
    {Script(IsFin, Data, State), State};
data(Id, IsFin, Data, #{next := Next0} = State) ->
    {Commands, Next} = cowboy_stream:data(Id, IsFin, Data, Next0),
    {Commands, State#{next := Next}}.

info(_, Info, #{script := #{info := Script}} = State) ->
    {Script(Info, State), State};
%% The last handler of the chain is the one that makes commands of what the server says in its place.
info(_, {response, _, _, _} = Response, #{next := undefined} = State) ->
    {[Response], State};
info(Id, Info, #{next := Next0} = State) ->
    {Commands, Next} = cowboy_stream:info(Id, Info, Next0),
    {Commands, State#{next := Next}}.

terminate(_, Reason, #{script := #{terminate := Script}} = State) ->
    Script(Reason, State);
terminate(Id, Reason, #{next := Next, probe := Probe}) ->
    probe:note(Probe, {terminate, Reason}),
    Next =:= undefined orelse cowboy_stream:terminate(Id, Reason, Next),
    ok.

early_error(_, _, _, Response, _) ->
    Response.
