%% Members of a broadcast: WebSockets that have subscribed to a topic, whose handlers run what they are sent.
-module(broadcast_case).

-export([routes/0, routes/1, member/1, member/2, member/3, settle/1, run/2, numbers/3, error_of/1]).

-define(TOPIC, <<"topic">>).

%% `/' subscribes to the topic; `/join' tells the process broadcast_case that it has joined pg. The handlers run the
%% funs that they get as `{run, Fun}'.
-spec routes() -> [{iodata(), module(), term()}].
routes() ->
    routes(#{}).

%% With these WebSocket options.
-spec routes(map()) -> [{iodata(), module(), term()}].
routes(Options) ->
    Handler = #{
        opts => Options#{compress => true},
        websocket_info => fun
            ({run, Fun}, State) -> Fun(State);
            (_, State) -> {[], State}
        end
    },
    [
        {"/", ws_script_h, Handler#{websocket_init => fun(State) ->
            ok = outrider:subscribe(?TOPIC),
            {[], State}
        end}},
        {"/join", ws_script_h, Handler#{silent => true, websocket_init => fun(State) ->
            ok = pg:join(outrider_broadcast_SUITE, members, self()),
            broadcast_case ! {joined, self()},
            {[], State}
        end}}
    ].

%% A new client and its process, when it has subscribed.
-spec member(same_test:server()) -> {gen_tcp:socket(), pid()}.
member(Server) ->
    member(Server, []).

-spec member(same_test:server(), [{iodata(), iodata()}]) -> {gen_tcp:socket(), pid()}.
member(Server, Headers) ->
    member(Server, Headers, []).

-spec member(same_test:server(), [{iodata(), iodata()}], [gen_tcp:connect_option()]) -> {gen_tcp:socket(), pid()}.
member(Server = #{ref := Ref}, Headers, SocketOptions) ->
    Before = outrider:procs(Ref, connections),
    Socket = http_client:connect(Server, SocketOptions),
    #{status := 101} = ws_client:upgrade(Socket, Headers),
    %% Others may have ended meanwhile.
    os_process:until(fun() -> outrider:procs(Ref, connections) -- Before =/= [] end),
    [Pid] = outrider:procs(Ref, connections) -- Before,
    ok = settle(Pid),
    {Socket, Pid}.

%% Waits until a handler has come so far that it takes messages.
-spec settle(pid()) -> ok.
settle(Pid) ->
    run(Pid, fun(State) -> {[], State} end).

%% Has a handler run a callback, and waits until its commands have been carried out.
-spec run(pid(), fun((State) -> {list(), State})) -> ok.
run(Pid, Fun) ->
    Self = self(),
    Mark = monitor(process, Pid),
    Pid ! {run, Fun},
    Pid ! {run, fun(State) -> Self ! Mark, {[], State} end},
    receive
        Mark -> demonitor(Mark, [flush]), ok;
        {'DOWN', Mark, process, Pid, Reason} -> error({ended, Reason})
    end.

%% These frames are the numbers from one to another, as texts.
-spec numbers(pos_integer(), non_neg_integer(), [cow_ws:frame()]) -> ok.
numbers(From, To, Frames) ->
    Expected = [{text, integer_to_binary(N)} || N <- lists:seq(From, To)],
    Expected = Frames,
    ok.

-spec error_of(fun(() -> term())) -> term().
error_of(Call) ->
    try Call() of
        _ -> none
    catch
        error:Reason -> Reason
    end.
