%% A handler that switches to a protocol of its own, which wants the connection's socket.
-module(takeover_h).

-export([init/2, takeover/7]).

init(#{pid := Pid, streamid := Id} = Req, State) ->
    Pid ! {{Pid, Id}, {switch_protocol, #{}, ?MODULE, State}},
    {ok, Req, State}.

takeover(_, _, Socket, Transport, _, _, _) ->
    ok = Transport:send(Socket, <<"raw">>),
    exit(normal).
