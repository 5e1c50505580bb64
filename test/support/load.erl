%% Some hundred clients that talk to ws_ledger_h while something else is tested: each asks, waits for the answer, asks
%% again, and comes back when its connection is lost. A wrong answer ends the test: they are linked to its process.
-module(load).

-export([start/2, served/1, lost/1, stop/1]).

-export_type([load/0]).

-opaque load() :: [{pid(), reference()}].

%% Between two messages of a client: together they keep a core or two busy, and leave something for the test.
-define(PAUSE_MS, 5).
%% Far longer than a listener takes to come back, even on a busy machine.
-define(PATIENCE_MS, 30000).

%% Returns when all of them have been answered once.
-spec start(same_test:server(), pos_integer()) -> load().
start(#{port := Port}, Count) ->
    Client = fun() -> connect(#{port => Port, past => [], served => []}) end,
    Load = [spawn_opt(Client, [link, monitor]) || _ <- lists:seq(1, Count)],
    ok = served(Load),
    Load.

%% Waits until each has been answered something that it asked after this call.
-spec served(load()) -> ok.
served(Load) ->
    _ = ask_all(Load, served),
    ok.

%% How many connections they have lost.
-spec lost(load()) -> non_neg_integer().
lost(Load) ->
    lists:sum(ask_all(Load, lost)).

%% Has them close their connections, and returns all that they had.
-spec stop(load()) -> [ledger:connection()].
stop(Load) ->
    Connections = lists:append(ask_all(Load, stop)),
    _ = [receive {'DOWN', Monitor, process, _, _} -> ok end || {_, Monitor} <- Load],
    Connections.

ask_all(Load, Question) ->
    _ = [Pid ! {Question, self()} || {Pid, _} <- Load],
    [receive
        {Pid, Question, Answer} -> Answer
    after ?PATIENCE_MS ->
        error({not_served, process_info(Pid, current_stacktrace)})
    end || {Pid, _} <- Load].

%% A client's process.

connect(State = #{port := Port}) ->
    Options = [{nodelay, true}, {buffer, 4096}],
    case gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false} | Options]) of
        {ok, Direct} ->
            Socket = http_client:tunnelled(Direct, Options),
            Name = integer_to_binary(erlang:unique_integer([positive])),
            _ = http_client:send(Socket, ws_client:handshake(["/ledger?", Name])),
            case http_client:response(Socket) of
                #{status := 101} -> answer(State#{socket => Socket, name => Name, asked => 0, answered => 0});
                _ -> again(Socket, State)
            end;
        {error, _} ->
            again(none, State)
    end.

again(Socket, State) ->
    _ = Socket =:= none orelse gen_tcp:close(Socket),
    receive after ?PAUSE_MS -> connect(State) end.

%% Between two messages: answers the test.
answer(State = #{served := Served, past := Past}) ->
    receive
        {served, From} ->
            answer(State#{served := [From | Served]});
        {lost, From} ->
            From ! {self(), lost, length(Past)},
            answer(State);
        {stop, From} ->
            #{socket := Socket} = State,
            _ = ws_client:send(Socket, {close, 1000, <<>>}),
            _ = ws_client:recv_all(Socket),
            From ! {self(), stop, [connection(State) | Past]}
    after ?PAUSE_MS ->
        ask(State)
    end.

ask(State = #{socket := Socket, asked := Asked, served := Served}) ->
    Message = iolist_to_binary(io_lib:format("~12..0be~p", [Asked + 1, self()])),
    _ = ws_client:send(Socket, {text, Message}),
    case ws_client:recv(Socket) of
        {text, Message} ->
            _ = [From ! {self(), served, ok} || From <- Served],
            answer(State#{asked := Asked + 1, answered := Asked + 1, served := []});
        Ended when Ended =:= closed; element(1, Ended) =:= close ->
            #{past := Past} = Lost = State#{asked := Asked + 1},
            again(Socket, Lost#{past := [connection(Lost) | Past]})
    end.

connection(#{name := Name, asked := Asked, answered := Answered}) ->
    {Name, Asked, Answered}.
