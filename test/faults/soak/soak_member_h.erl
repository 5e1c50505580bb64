%% The server's side of the soak's broadcasts: members, who hear what is said to all, and three who say it. In the server's VM.
%%
%% What each says is numbered from 1. Two counts of each, of what it has begun to say and of what it has said, tell what a member
%% must hear: all that was begun after it was a member, and said before it was none. What was under way at either moment it
%% may hear. The client (soak_member) holds that against what it got.
%%
%%   1 publishes to the topic, 2 uses send_many, 3 has a member's handler publish by its command, to all but itself
%%
%% A client says `end', from when on it is no member, and `count', when it has read all: how many frames were dropped for it.
-module(soak_member_h).

-export([start/1, init/2, websocket_init/1, websocket_handle/2, websocket_info/2]).

-define(SPEAKERS, [1, 2, 3]).
-define(TOPIC, <<"soak">>).
%% The scope of pg, and the table of what a handler may have published when it was killed.
-define(MEMBERS, ?MODULE).
-define(UNKNOWN, soak_unknown).
-define(PAUSE_MS, 80).
-define(LARGEST, 2000).

-spec start(ranch:ref()) -> ok.
start(Ref) ->
    {ok, _} = pg:start(?MEMBERS),
    Counts = atomics:new(2 * length(?SPEAKERS), []),
    ok = persistent_term:put(?MODULE, {Ref, Counts}),
    Self = self(),
    Keeper = spawn(fun() ->
        _ = ets:new(?UNKNOWN, [named_table, public]),
        Self ! {self(), open},
        receive stop -> ok end
    end),
    receive {Keeper, open} -> ok end,
    lists:foreach(fun(Speaker) -> spawn(fun() -> speak(Speaker, 1, Ref, Counts) end) end, ?SPEAKERS).

speak(Speaker, Number, Ref, Counts) ->
    receive after rand:uniform(?PAUSE_MS) -> ok end,
    ok = atomics:put(Counts, Speaker, Number),
    case say(Speaker, Number, Ref) of
        ok ->
            ok = atomics:put(Counts, length(?SPEAKERS) + Speaker, Number),
            speak(Speaker, Number + 1, Ref, Counts);
        not_said ->
            speak(Speaker, Number, Ref, Counts)
    end.

say(1, Number, Ref) ->
    publish(fun() -> outrider:publish(Ref, ?TOPIC, frame(1, Number)) end);
say(2, Number, _) ->
    _ = outrider:send_many(pg:get_members(?MEMBERS, members), frame(2, Number)),
    ok;
say(3, Number, _) ->
    case pg:get_members(?MEMBERS, members) of
        [] ->
            not_said;
        Members ->
            Pid = lists:nth(rand:uniform(length(Members)), Members),
            Monitor = monitor(process, Pid),
            Pid ! {say, Number, Monitor, self()},
            receive
                {said, Monitor} -> true = demonitor(Monitor, [flush]), ok;
                {'DOWN', Monitor, process, Pid, _} -> true = ets:insert(?UNKNOWN, {Number}), ok
            end
    end.

%% A listener that has ended is started again.
publish(Publish) ->
    try
        Publish()
    catch
        error:badarg -> not_said
    end.

frame(Speaker, Number) ->
    {binary, <<Speaker, Number:64, 0:(8 * rand:uniform(?LARGEST))>>}.

init(Req, Opts) ->
    {cowboy_websocket, Req, none, Opts}.

websocket_init(none) ->
    Before = said(),
    ok = outrider:subscribe(?TOPIC),
    ok = pg:join(?MEMBERS, members, self()),
    {[answer({Before, begun()})], []}.

websocket_handle({text, <<"end">>}, Own) ->
    Said = said(),
    ok = outrider:unsubscribe(?TOPIC),
    _ = pg:leave(?MEMBERS, members, self()),
    {[answer({Said, begun(), Own})], Own};
websocket_handle({text, <<"count">>}, Own) ->
    Dropped = try maps:get(dropped, outrider:backlog()) catch error:badarg -> 0 end,
    {[answer({Dropped, [Number || {Number} <- ets:tab2list(?UNKNOWN)]})], Own}.

%% The state is what it has said itself, and so does not hear.
websocket_info({say, Number, Tag, From}, Own) ->
    self() ! {said, Tag, From},
    {[{publish, ?TOPIC, frame(3, Number)}], [Number | Own]};
websocket_info({said, Tag, From}, Own) ->
    {Ref, _} = persistent_term:get(?MODULE),
    %% When this returns, what was published before is in the port.
    _ = publish(fun() -> outrider:publish_from(self(), Ref, <<"nobody's">>, ping) end),
    From ! {said, Tag},
    {[], Own};
websocket_info(_, Own) ->
    {[], Own}.

answer(Term) ->
    {text, base64:encode(term_to_binary(Term))}.

begun() -> counts(0).

said() -> counts(length(?SPEAKERS)).

counts(Offset) ->
    {_, Counts} = persistent_term:get(?MODULE),
    [atomics:get(Counts, Offset + Speaker) || Speaker <- ?SPEAKERS].
