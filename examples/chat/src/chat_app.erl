%% Starts the chat: the page and its files from priv/, the rooms at /rooms/NAME.
%%
%% The port is the environment variable PORT, or 8080; the server is SERVER, outrider or cowboy.
-module(chat_app).
-behaviour(application).

-export([start/2, prep_stop/1, stop/1, port/0]).

start(_Type, _Args) ->
    {ok, Sup} = chat_sup:start_link(),
    Server = server(),
    Dispatch = cowboy_router:compile([
        {'_', [
            {"/", cowboy_static, {priv_file, chat, "index.html"}},
            {"/assets/[...]", cowboy_static, {priv_dir, chat, "assets"}},
            {"/rooms/:room", chat_handler, Server}
            | dashboard(Server)
        ]}
    ]),
    Port = list_to_integer(os:getenv("PORT", "8080")),
    case Server:start_clear(chat, [{port, Port}], #{env => #{dispatch => Dispatch}}) of
        {ok, _Listener} -> {ok, Sup, Server};
        {error, Reason} -> {error, Reason}
    end.

%% Everybody may look at /dashboard; who sits at this machine may do more.
dashboard(outrider) -> [{"/dashboard/[...]", outrider_dashboard, #{may => fun may/2}}];
dashboard(cowboy) -> [].

may(look, _Req) -> true;
may(_Action, #{peer := {Ip, _}, host := Host}) -> Ip =:= {127, 0, 0, 1} andalso lists:member(Host, [<<"localhost">>, <<"127.0.0.1">>]).

%% The listener goes before the rooms do.
prep_stop(Server) ->
    ok = Server:stop_listener(chat),
    Server.

stop(_Server) ->
    ok.

%% Where it listens.
port() ->
    case server() of
        outrider -> outrider:get_port(chat);
        cowboy -> ranch:get_port(chat)
    end.

server() ->
    case os:getenv("SERVER", "outrider") of
        "outrider" -> outrider;
        "cowboy" -> cowboy
    end.
