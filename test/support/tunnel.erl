%% What tunnels for tests have in common: a socket for the client whose other end a process carries on.
-module(tunnel).

-export([through/3]).

%% A socket that belongs to the caller. What goes in there and what comes is carried by the fun, in a process that the other end and the
%% given socket belong to.
-spec through(gen_tcp:socket(), [gen_tcp:connect_option()], fun((Inside :: gen_tcp:socket()) -> term())) -> gen_tcp:socket().
through(Outside, Options, Carry) ->
    {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}, {nodelay, true}, {ip, {127, 0, 0, 1}}]),
    {ok, Entry} = inet:port(Listener),
    Own = [Option || Option <- Options, Option =/= inet6],
    {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, Entry, [binary, {active, false}, {nodelay, true} | Own]),
    {ok, Inside} = gen_tcp:accept(Listener),
    gen_tcp:close(Listener),
    Pid = spawn(fun() ->
        receive
            go -> Carry(Inside)
        end
    end),
    [ok = gen_tcp:controlling_process(Socket, Pid) || Socket <- [Inside, Outside]],
    Pid ! go,
    Client.
