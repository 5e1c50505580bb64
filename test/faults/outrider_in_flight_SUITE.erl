%% What is on its way when the sidecar, its owner or the VM dies: each sentence of docs/architecture.md, "Frames in
%% flight", by numbers of messages.
%%
%% To know where a frame is, one of the processes that it passes stands still: a handler in a callback, the port's owner
%% suspended, the sidecar stopped by SIGSTOP.
-module(outrider_in_flight_SUITE).

-include_lib("common_test/include/ct.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([the_mailbox_is_handled_after_the_sidecars_death/1, the_first_answer_after_the_sidecars_death_ends_the_stream/1]).
-export([what_the_owner_has_not_handed_on_is_lost_with_the_sidecar/1, what_the_vm_has_received_is_lost_with_it/1]).
-export([what_has_left_the_vm_arrives_if_the_owner_dies/1, what_has_left_the_vm_arrives_if_the_vm_dies/1]).
-export([what_the_sidecar_has_not_written_is_lost_with_it/1]).
%% Called in a VM of its own.
-export([start/1, push/1]).

-define(PUSHES, 100).

all() ->
    same_test:cases(?MODULE) -- [start, push].

suite() ->
    [{timetrap, {minutes, 2}}].

init_per_testcase(Case, Config) ->
    ok = ledger:open(),
    own_case:init(Case, #{routes => routes()}, Config).

end_per_testcase(Case, _) ->
    ok = own_case:stop(Case),
    ok = ledger:close().

routes() ->
    [{"/", ws_script_h, #{websocket_handle => fun handle/2}}, {"/ledger", ws_ledger_h, #{}}].

handle({text, <<"wait">>}, State = #{probe := Probe}) ->
    go_on = probe:await(Probe, go_on),
    {[], State};
handle({text, <<"answer">>} = Frame, State) ->
    {[Frame], State};
handle(_, State) ->
    {[], State}.

the_mailbox_is_handled_after_the_sidecars_death(Config) ->
    [<<"wait">>, <<"1">>, <<"2">>, <<"3">>, <<"last">>] = handled_around_its_death([<<"1">>, <<"2">>, <<"3">>], Config).

the_first_answer_after_the_sidecars_death_ends_the_stream(Config) ->
    [<<"wait">>, <<"1">>, <<"answer">>] = handled_around_its_death([<<"1">>, <<"answer">>, <<"3">>], Config).

%% A handler is in a callback when these messages come, and one more; then the sidecar dies; then the callback returns.
handled_around_its_death(Messages, Config) ->
    #{ref := Ref, probe := Probe} = Server = ?config(server, Config),
    Socket = ws_client:open(Server),
    ok = ws_client:send(Socket, {text, <<"wait">>}),
    {websocket_handle, _} = probe:await(Probe, {websocket_handle, {text, <<"wait">>}}),
    [Stream] = outrider:procs(Ref, connections),
    ok = ws_client:send(Socket, [{text, Message} || Message <- Messages ++ [<<"last">>]]),
    ok = os_process:until(fun() -> has_come({text, <<"last">>}, Stream) end),
    Collector = monitor(process, os_process:collector(Ref)),
    signal("KILL", Ref),
    ok = os_process:until(fun() -> is_told_of_the_end(Stream) end),
    receive {'DOWN', Collector, process, _, _} -> ok end,
    ok = probe:note(Probe, go_on),
    {exit, normal} = probe:await_exit(Probe),
    [closed] = ws_client:recv_all(Socket),
    [websocket_init | Calls] = probe:calls(Probe),
    [{terminate, {error, closed}}, {exit, normal}] = lists:nthtail(length(Calls) - 2, Calls),
    [Message || {websocket_handle, {text, Message}} <- Calls].

what_the_owner_has_not_handed_on_is_lost_with_the_sidecar(Config) ->
    #{ref := Ref, probe := Probe} = Server = ?config(server, Config),
    Socket = ws_client:open(Server),
    [Owner] = outrider:procs(Ref, acceptors),
    OsPid = os_pid(Ref),
    ok = sys:suspend(Owner),
    ok = ws_client:send(Socket, [{text, <<"1">>}, {text, <<"2">>}]),
    ok = os_process:until(fun() -> process_info(Owner, message_queue_len) =/= {message_queue_len, 0} end),
    "" = os:cmd("kill -KILL " ++ OsPid),
    {exit, normal} = probe:await_exit(Probe),
    ok = sys:resume(Owner),
    ok = os_process:until(fun() -> outrider:procs(Ref, connections) =:= [] end),
    [websocket_init, {terminate, {error, closed}}, {exit, normal}] = probe:calls(Probe).

%% The VM dies while a handler is busy and two messages wait for it.
what_the_vm_has_received_is_lost_with_it(_) ->
    {Peer, Server} = peer(),
    Socket = ws_client:open_at(Server, "/ledger?it"),
    ok = ws_client:send(Socket, [{text, <<"000000000001e">>}, {text, <<"000000000002w60000">>}, {text, <<"000000000003e">>}]),
    {text, <<"000000000001e">>} = ws_client:recv(Socket),
    ok = os_process:until(fun() -> [2] =:= [Handled || {_, _, _, Handled, _, _} <- peer:call(Peer, ledger, rows, [])] end),
    kill_vm(Peer),
    [{close, 1001, <<>>}, closed] = ws_client:recv_all(Socket).

what_has_left_the_vm_arrives_if_the_owner_dies(Config) ->
    #{ref := Ref} = Server = ?config(server, Config),
    Socket = ws_client:open_at(Server, "/ledger?it"),
    [Owner] = outrider:procs(Ref, acceptors),
    OsPid = os_pid(Ref),
    "" = os:cmd("kill -STOP " ++ OsPid),
    ok = push(Ref),
    Monitor = monitor(process, Owner),
    exit(Owner, kill),
    receive {'DOWN', Monitor, process, Owner, killed} -> ok end,
    "" = os:cmd("kill -CONT " ++ OsPid),
    {?PUSHES, [{close, 1001, <<>>}, closed]} = pushes(Socket).

what_has_left_the_vm_arrives_if_the_vm_dies(_) ->
    {Peer, Server = #{os_pid := OsPid}} = peer(),
    Socket = ws_client:open_at(Server, "/ledger?it"),
    "" = os:cmd("kill -STOP " ++ OsPid),
    ok = peer:call(Peer, ?MODULE, push, [peer]),
    kill_vm(Peer),
    %% Newer VMs see to that themselves when they die: then it may be done already.
    _ = os:cmd("kill -CONT " ++ OsPid),
    {?PUSHES, [{close, 1001, <<>>}, closed]} = pushes(Socket).

what_the_sidecar_has_not_written_is_lost_with_it(Config) ->
    #{ref := Ref} = Server = ?config(server, Config),
    Socket = ws_client:open_at(Server, "/ledger?it"),
    signal("STOP", Ref),
    ok = push(Ref),
    signal("KILL", Ref),
    {0, [closed]} = pushes(Socket).

%% Has the one handler of a listener push, and returns when the port has given all of it to the kernel.
push(Ref) ->
    [Stream] = outrider:procs(Ref, connections),
    [Owner] = outrider:procs(Ref, acceptors),
    {links, Links} = process_info(Owner, links),
    [Port] = [Port || Port <- Links, is_port(Port)],
    {output, Before} = erlang:port_info(Port, output),
    Stream ! {push, ?PUSHES},
    os_process:until(fun() ->
        {output, Now} = erlang:port_info(Port, output),
        Now - Before > ?PUSHES * 1000 andalso erlang:port_info(Port, queue_size) =:= {queue_size, 0}
    end).

%% How many pushes come, and what comes after them.
pushes(Socket) ->
    {Pushes, End} = lists:splitwith(fun
        ({binary, <<"push", _/binary>>}) -> true;
        (_) -> false
    end, ws_client:recv_all(Socket)),
    {length(Pushes), End}.

%% A VM of its own, with a listener.
peer() ->
    {ok, Peer, _} = peer:start(#{connection => standard_io, args => ["-pa" | code:get_path()]}),
    {Port, OsPid} = peer:call(Peer, ?MODULE, start, [peer]),
    {Peer, #{name => outrider, ref => peer, port => Port, probe => none, os_pid => OsPid}}.

start(Ref) ->
    ok = ledger:open(),
    #{port := Port} = own_case:listen(Ref, #{routes => routes(), probe => none}),
    {Port, os_pid(Ref)}.

kill_vm(Peer) ->
    "" = os:cmd("kill -KILL " ++ peer:call(Peer, os, getpid, [])).

has_come(Frame, Process) ->
    {messages, Messages} = process_info(Process, messages),
    lists:any(fun
        ({_Port, Frames}) when is_list(Frames) -> lists:member(Frame, Frames);
        ({_Port, Event}) -> Event =:= Frame;
        (_) -> false
    end, Messages).

is_told_of_the_end(Process) ->
    {messages, Messages} = process_info(Process, messages),
    lists:any(fun(Message) -> element(1, Message) =:= 'DOWN' andalso element(3, Message) =:= port end, Messages).

signal(Signal, Ref) ->
    "" = os:cmd("kill -" ++ Signal ++ " " ++ os_pid(Ref)).

os_pid(Ref) ->
    #{sidecars := [#{os_pid := OsPid}]} = outrider:info(Ref),
    integer_to_list(OsPid).
