%% Starts the chat: the page and its files from priv/, the rooms at /rooms/NAME.
%%
%% The port is the environment variable PORT, or 8080.
-module(chat_app).
-behaviour(application).

-export([start/2, prep_stop/1, stop/1]).

start(_Type, _Args) ->
    {ok, Sup} = chat_sup:start_link(),
    Dispatch = cowboy_router:compile([
        {'_', [
            {"/", cowboy_static, {priv_file, chat, "index.html"}},
            {"/assets/[...]", cowboy_static, {priv_dir, chat, "assets"}},
            {"/rooms/:room", chat_handler, []}
        ]}
    ]),
    Port = list_to_integer(os:getenv("PORT", "8080")),
    %% Write cowboy:start_clear here, and the same chat runs on Cowboy alone.
    case outrider:start_clear(chat, [{port, Port}], #{env => #{dispatch => Dispatch}}) of
        {ok, _Listener} -> {ok, Sup};
        {error, Reason} -> {error, Reason}
    end.

%% The listener goes before the rooms do.
prep_stop(State) ->
    ok = outrider:stop_listener(chat),
    State.

stop(_State) ->
    ok.
