%%% What a sidecar is asked, who waits for its answers, and who gets the frames of its traces. Pure, but that it answers.
%%%
%%% A question goes to the sidecar under a number, and its answer comes back with it, whole or in pieces.
-module(outrider_questions).

-export([new/0, ask/3, event/3]).
-export_type([questions/0, question/0, context/0]).

%% What a sidecar that stands still may be asked before nobody waits for it any more.
-define(MOST, 100).
%% Questions at a time for which a sidecar looks at all of its WebSockets.
-define(MOST_SURVEYS, 8).

-type question() ::
    topics | metrics | {subscribers, binary()} | {stats, pid()} | {tls, outrider_secret:sealed()}
    | lazy | {wake, Stream :: pos_integer()} | {connections | one | streams, map()} | {kick, [pos_integer()], pos_integer(), binary()}
    | {trace, Tracer :: pid(), Stream :: pos_integer(), map()}.

%% What else there is to say in answers.
-type context() :: #{
    number := pos_integer(), os_pid := pos_integer(), streams := outrider_streams:streams()
}.

-record(questions, {
    asked = 0 :: non_neg_integer(),
    %% By number; what has come of the answer, the last piece first.
    open = #{} :: #{pos_integer() => {Name :: atom(), gen_server:from(), Pieces :: [list()]}},
    %% Who gets the frames of the trace of that number.
    tracers = #{} :: #{pos_integer() => pid()}
}).

-opaque questions() :: #questions{}.

-spec new() -> questions().
new() ->
    #questions{}.

%% The order to the sidecar that asks it; or that it is asked too much already, which `busy' says of surveys.
-spec ask(question(), gen_server:from(), questions()) -> {order, term(), questions()} | full | busy | unknown.
ask(Question, From, Questions = #questions{asked = Asked, open = Open, tracers = Tracers}) ->
    Number = Asked + 1,
    case order(Question, Number) of
        unknown ->
            unknown;
        {Name, _} when map_size(Open) >= ?MOST, Name =/= tls ->
            full;
        {Name, Order} ->
            case is_survey(Name) andalso length([N || {N, _, _} <- maps:values(Open), is_survey(N)]) >= ?MOST_SURVEYS of
                true ->
                    busy;
                false ->
                    New = Questions#questions{asked = Number, open = Open#{Number => {Name, From, []}}},
                    {order, Order, case Question of
                        %% Its first frames may come before the answer.
                        {trace, Tracer, _, _} -> New#questions{tracers = Tracers#{Number => Tracer}};
                        _ -> New
                    end}
            end
    end.

is_survey(Name) -> Name =:= connections orelse Name =:= streams.

order(topics, N) -> {topics, {topics, N}};
order(metrics, N) -> {metrics, {metrics, N}};
order({subscribers, Topic}, N) -> {subscribers, {subscribers, N, Topic}};
order({stats, Pid}, N) -> {stats, {stats, N, Pid}};
order({tls, Settings}, N) -> {tls, {tls, N, outrider_secret:open(Settings)}};
order({connections, Query}, N) -> {connections, {connections, N, Query}};
order({one, Query}, N) -> {one, {connections, N, Query}};
order({streams, Filter}, N) -> {streams, {streams, N, Filter}};
order(lazy, N) -> {lazy, {streams, N, #{}}};
order({wake, Stream}, N) -> {wake, {wake, N, Stream}};
order({kick, Streams, Code, Text}, N) -> {kick, {kick, N, Streams, Code, Text}};
order({trace, _, Stream, Options}, N) -> {trace, {trace, N, Stream, Options}};
order(_, _) -> unknown.

%% An event of the sidecar's, if it is an answer or of a trace.
-spec event(term(), context(), questions()) -> {ok, questions()} | none.
event({seen, Number, _, _, _, _, _} = Seen, _, #questions{tracers = Tracers} = Questions) ->
    #{Number := Tracer} = Tracers,
    Tracer ! Seen,
    {ok, Questions};
event({traced, Number, _, _} = End, _, #questions{tracers = Tracers} = Questions) ->
    {Tracer, Rest} = maps:take(Number, Tracers),
    Tracer ! End,
    {ok, Questions#questions{tracers = Rest}};
event({tracing, Number, ok}, _, Questions) ->
    {ok, answered(Number, {ok, Number}, Questions)};
event({tracing, Number, Error}, _, Questions = #questions{tracers = Tracers}) ->
    {ok, answered(Number, Error, Questions#questions{tracers = maps:remove(Number, Tracers)})};
event({Name, Number, Piece}, Context, Questions) when Name =:= topics; Name =:= connections; Name =:= streams ->
    {ok, piece(Piece, Number, Context, Questions)};
event({Name, Number, Answer}, _, Questions) when Name =:= stats; Name =:= subscribers; Name =:= kicked ->
    {ok, answered(Number, Answer, Questions)};
%% The event of a handler that has begun for it came before.
event({woken, Number, undefined}, _, Questions) ->
    {ok, answered(Number, undefined, Questions)};
event({woken, Number, Stream}, #{streams := Streams}, Questions) ->
    {ok, answered(Number, outrider_streams:pid(Stream, Streams), Questions)};
event({tls, Number, ok}, _, Questions) ->
    {ok, answered(Number, ok, Questions)};
event({tls, Number, {error, Text}}, _, Questions) ->
    {ok, answered(Number, {error, {options, {tls, Text, {error, refused}}}}, Questions)};
event({metrics, Question, Counted}, #{number := Number, os_pid := OsPid, streams := Streams}, Questions) ->
    #{all_connections := All, active_connections := Active} = outrider_streams:count(Streams),
    Metrics = Counted#{streams => #{request => Active, websocket => All - Active}},
    {ok, answered(Question, {Number, {ok, OsPid, Metrics}}, Questions)};
event(_, _, _) ->
    none.

%% The last one is empty.
piece([], Number, Context, Questions = #questions{open = Open}) ->
    #{Number := {Name, _, Pieces}} = Open,
    answered(Number, whole(Name, lists:append(lists:reverse(Pieces)), Context), Questions);
piece(Piece, Number, _, Questions = #questions{open = Open}) ->
    #{Number := {Name, From, Pieces}} = Open,
    Questions#questions{open = Open#{Number := {Name, From, [Piece | Pieces]}}}.

whole(topics, Topics, _) -> Topics;
whole(streams, Streams, _) -> {ok, [{self(), Stream} || Stream <- Streams]};
%% WebSockets without a process.
whole(lazy, Streams, #{streams := Table}) ->
    [{self(), Stream} || Stream <- Streams, outrider_streams:pid(Stream, Table) =:= undefined];
whole(_, Found, Context) -> {ok, [connection(Told, Context) || Told <- Found]}.

%% What the sidecar tells of a WebSocket, and what only the VM knows.
connection(Told0, #{number := Number, streams := Streams}) ->
    {Stream, Told} = maps:take(stream, Told0),
    Connection = Told#{id => {self(), Stream}, sidecar => Number, pid => outrider_streams:pid(Stream, Streams)},
    case Connection of
        #{closed := _} -> Connection#{state := closed};
        #{} -> Connection
    end.

answered(Number, Answer, Questions = #questions{open = Open}) ->
    {{_, From, _}, Rest} = maps:take(Number, Open),
    ok = gen_server:reply(From, Answer),
    Questions#questions{open = Rest}.
