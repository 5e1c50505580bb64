%%% What the viewers of a listener's dashboard are sent each second, made once for all of them.
%%%
%%% A gen_server for as long as somebody looks, one for each listener that is looked at, a temporary child of outrider_sup: the
%%% first viewer starts it, and it ends with the last. Where nobody looks nothing is gathered. Viewers that sort the clients alike
%%% and may see the same get the same message: one order to the sidecars for those who are WebSockets of Outrider's, an
%%% Erlang message for others.
-module(outrider_dashboard_feed).
-behaviour(gen_server).

-export([look/2, sorts/0, id/2]).
-export([start_link/1, init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([look/0, sort/0]).

%% Between the end of one gathering and the next, and before the first, which tells of what happened since the start.
-define(PAUSE_MS, 1000).
-define(FIRST_MS, 250).
-define(MOST_VIEWERS, 100).
%% A viewer waits so long for its place.
-define(LOOK_MS, 10000).
-define(CLIENTS, 20).
%% A viewer that gets Erlang messages and has so many unread misses the next.
-define(UNREAD, 4).

-type look() :: #{
    sort := sort(),
    %% Whether addresses and paths are among what it sees.
    peers := boolean(),
    by := sidecar | process
}.
-type sort() :: backlog | credit_in | messages | bytes_in | bytes_out | idle | age | round_trip.

-record(feed, {
    ref :: ranch:ref(),
    last :: outrider_sample:sample() | undefined,
    viewers = #{} :: #{pid() => look()}
}).

%% From now on the calling process' client is sent what is made for this look.
-spec look(ranch:ref(), look()) -> {ok, Feed :: pid()} | {error, too_many}.
look(Ref, Look) ->
    Feed =
        case outrider_sup:start_feed(Ref, {?MODULE, start_link, [Ref]}) of
            {ok, Pid} when is_pid(Pid) -> Pid;
            {error, {already_started, Pid}} -> Pid
        end,
    try
        gen_server:call(Feed, {look, self(), Look}, ?LOOK_MS)
    catch
        %% It waits for sidecars that stand still.
        exit:{timeout, _} -> {error, too_many};
        %% It has just ended with its last viewer.
        exit:{Reason, _} when Reason =:= normal; Reason =:= noproc -> look(Ref, Look)
    end.

-spec sorts() -> [sort()].
sorts() ->
    [backlog, credit_in, messages, bytes_out, bytes_in, idle, age, round_trip].

%% From the name that a client has in messages, if it is, or was, one of this listener's.
-spec id(ranch:ref(), binary()) -> outrider_connections:id() | undefined.
id(Ref, Text) ->
    try
        [Sidecar, Stream] = binary:split(Text, <<"-">>),
        [Pid] = [Pid || Pid <- outrider:procs(Ref, acceptors), pid_text(Pid) =:= Sidecar],
        {Pid, binary_to_integer(Stream)}
    catch
        error:_ -> undefined
    end.

%% Without the brackets.
pid_text(Pid) ->
    list_to_binary(string:trim(pid_to_list(Pid), both, "<>")).

-spec start_link(ranch:ref()) -> {ok, pid()}.
start_link(Ref) ->
    gen_server:start_link(?MODULE, Ref, []).

%% Not here: outrider_sup waits for this, and starts and stops listeners.
-spec init(ranch:ref()) -> {ok, #feed{}, {continue, begin_with}}.
init(Ref) ->
    {ok, #feed{ref = Ref}, {continue, begin_with}}.

-spec handle_continue(begin_with, #feed{}) -> {noreply, #feed{}}.
handle_continue(begin_with, Feed = #feed{ref = Ref}) ->
    _ = erlang:send_after(?FIRST_MS, self(), gather),
    {noreply, Feed#feed{last = outrider_sample:take(Ref)}}.

-spec handle_call({look, pid(), look()}, gen_server:from(), #feed{}) -> {reply, {ok, pid()} | {error, too_many}, #feed{}}.
handle_call({look, Pid, Look}, _From, Feed = #feed{viewers = Viewers}) when is_map_key(Pid, Viewers) ->
    {reply, {ok, self()}, Feed#feed{viewers = Viewers#{Pid := Look}}};
handle_call({look, _, _}, _From, Feed = #feed{viewers = Viewers}) when map_size(Viewers) >= ?MOST_VIEWERS ->
    {reply, {error, too_many}, Feed};
handle_call({look, Pid, Look}, _From, Feed = #feed{viewers = Viewers}) ->
    _ = monitor(process, Pid),
    {reply, {ok, self()}, Feed#feed{viewers = Viewers#{Pid => Look}}}.

-spec handle_cast(term(), #feed{}) -> {noreply, #feed{}}.
handle_cast(_Message, Feed) ->
    {noreply, Feed}.

-spec handle_info(term(), #feed{}) -> {noreply, #feed{}} | {stop, normal, #feed{}}.
handle_info(gather, Feed = #feed{viewers = Viewers}) when map_size(Viewers) =:= 0 ->
    {stop, normal, Feed};
handle_info(gather, Feed = #feed{ref = Ref, last = Last, viewers = Viewers}) ->
    Now = outrider_sample:take(Ref),
    ok = tell(Ref, outrider_sample:between(Last, Now), maps:to_list(Viewers)),
    _ = erlang:send_after(?PAUSE_MS, self(), gather),
    {noreply, Feed#feed{last = Now}};
handle_info({'DOWN', _, process, Pid, _}, Feed = #feed{viewers = Viewers0}) ->
    case maps:remove(Pid, Viewers0) of
        Viewers when map_size(Viewers) =:= 0 -> {stop, normal, Feed};
        Viewers -> {noreply, Feed#feed{viewers = Viewers}}
    end;
handle_info(_Message, Feed) ->
    {noreply, Feed}.

tell(Ref, View, Viewers) ->
    Numbers = outrider_json:encode(shown(View)),
    Sorts = lists:usort([Sort || {_, #{sort := Sort}} <- Viewers]),
    tell(Sorts, Ref, Numbers, View, Viewers).

tell([], _, _, _, _) ->
    ok;
tell([Sort | Sorts], Ref, Numbers, View, Viewers) ->
    Clients = clients(Ref, Sort, View),
    _ = [ok = tell_those(Numbers, Sort, Clients, Peers, Viewers) || Peers <- [true, false]],
    %% Who has not told of these tells of no others now.
    tell(Sorts, Ref, Numbers, case Clients of undefined -> View#{status := stopped}; _ -> View end, Viewers).

tell_those(Numbers, Sort, Clients, Peers, Viewers) ->
    case [{By, Pid} || {Pid, #{sort := S, peers := P, by := By}} <- Viewers, S =:= Sort, P =:= Peers] of
        [] ->
            ok;
        Meant ->
            List = outrider_json:encode(#{sort => Sort, list => shown(Clients, Peers)}),
            Frame = {text, iolist_to_binary([<<"{\"kind\":\"view\",\"view\":">>, Numbers, <<",\"clients\":">>, List, $}])},
            _ = outrider:send_many([Pid || {sidecar, Pid} <- Meant], Frame),
            lists:foreach(fun(Pid) -> Pid ! {outrider, dashboard, Frame} end, [Pid || {process, Pid} <- Meant, reads(Pid)])
    end.

reads(Pid) ->
    case process_info(Pid, message_queue_len) of
        {message_queue_len, Length} -> Length < ?UNREAD;
        undefined -> false
    end.

%% A sidecar that has not told what it has counted is not asked to look at all its clients.
clients(Ref, Sort, #{status := Status, sidecars := Sidecars}) ->
    case Status =/= stopped andalso [] =:= [Number || #{number := Number, outcome := no_answer} <- Sidecars] of
        true -> outrider_sample:clients(Ref, Sort, ?CLIENTS);
        false -> undefined
    end.

shown(View = #{listener := Ref, address := Address}) ->
    View#{listener := outrider_text:name(Ref), address := outrider_text:address(Address)}.

shown(undefined, _) -> undefined;
shown(Connections, Peers) -> [client(Connection, Peers) || Connection <- Connections].

client(Connection = #{id := {Sidecar, Stream}, peer := Peer}, Peers) ->
    Keys = [sidecar, state, age, idle, messages_in, messages_out, bytes_in, bytes_out, backlog, credit_in, round_trip],
    Hidden = (maps:with(Keys, Connection))#{id => <<(pid_text(Sidecar))/binary, "-", (integer_to_binary(Stream))/binary>>},
    case Peers of
        true -> Hidden#{peer => outrider_text:address(Peer), path => maps:get(path, Connection)};
        false -> Hidden
    end.
