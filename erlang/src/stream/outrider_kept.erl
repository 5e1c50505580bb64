%%% A stream's process between two requests of its connection, as Cowboy's connection process is: its own, with all that it has, and
%%% nobody else's.
%%%
%%% The sidecar's process (outrider_streams) knows which processes wait here, gives them the next request, or tells them to leave.
%%% Whatever comes of the last request meanwhile is before the next one in the mailbox, and goes; so nothing of one request is taken for
%%% the next one's.
-module(outrider_kept).

-export([wait/3]).
-export([system_continue/3, system_terminate/4, system_code_change/4]).

-record(kept, {
    context :: outrider_context:context(),
    monitor :: reference(),
    opts :: cowboy:opts()
}).

%% Wait for the next request, or for the order to leave; also that of the parent's end, and of the port's.
-spec wait(outrider_context:context(), PortMonitor :: reference(), cowboy:opts()) ->
    {request, pos_integer(), outrider_request:head()} | leave.
wait(Context, Monitor, Opts) ->
    wait(#kept{context = Context, monitor = Monitor, opts = Opts}).

wait(Kept = #kept{context = #{port := Port, parent := Parent}, monitor = Monitor, opts = Opts}) ->
    Self = self(),
    receive
        {Port, {request, _, _} = Request} ->
            Request;
        {Port, leave} ->
            leave;
        {Port, _} ->
            wait(Kept);
        {'DOWN', Monitor, port, _, _} ->
            leave;
        %% The next request may have been given to this process all the same: an end that is not normal tells of it.
        {'EXIT', Parent, _} ->
            exit(shutdown);
        {system, From, Request} ->
            sys:handle_system_msg(Request, From, Parent, ?MODULE, [], Kept);
        {'$gen_call', From, Call} ->
            ok = cowboy_children:handle_supervisor_call(Call, From, cowboy_children:init(), ?MODULE),
            wait(Kept);
        %% The words are Cowboy's.
        {{Self, StreamId}, Message} ->
            ok = cowboy:log(warning, "Received message ~p for unknown stream ~p.~n", [Message, StreamId], Opts),
            wait(Kept);
        {'EXIT', Pid, _} = Exit ->
            ok = cowboy:log(warning, "Received EXIT signal ~p for unknown process ~p.~n", [Exit, Pid], Opts),
            wait(Kept);
        Message ->
            ok = cowboy:log(warning, "Received stray message ~p.~n", [Message], Opts),
            wait(Kept)
    end.

%% Callbacks of module sys.

-spec system_continue(pid(), [sys:dbg_opt()], #kept{}) -> {request, pos_integer(), outrider_request:head()} | leave.
system_continue(_Parent, _Debug, Kept) ->
    wait(Kept).

-spec system_terminate(term(), pid(), [sys:dbg_opt()], #kept{}) -> no_return().
system_terminate(_Reason, _Parent, _Debug, _Kept) ->
    exit(shutdown).

-spec system_code_change(#kept{}, module(), term(), term()) -> {ok, #kept{}}.
system_code_change(Kept, _Module, _OldVsn, _Extra) ->
    {ok, Kept}.

-ifdef(TEST).
-include_lib("eunit/include/eunit.hrl").

%% The sidecar's process does not look at a stream again that has ended normally.
the_end_of_its_parent_is_no_normal_end_test() ->
    Parent = self(),
    {Pid, Monitor} = spawn_monitor(fun() -> wait(#{port => port, parent => Parent}, make_ref(), #{}) end),
    Pid ! {'EXIT', Parent, shutdown},
    Pid ! {port, {request, 3, head}},
    receive
        {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(shutdown, Reason)
    end.

-endif.
