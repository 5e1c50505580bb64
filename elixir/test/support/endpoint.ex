if Code.ensure_loaded?(Phoenix.LiveView) do
  defmodule Web do
    @moduledoc "A Phoenix application: a page, a channel, a LiveView."

    defmodule Channel do
      @moduledoc false
      use Phoenix.Channel
      def join("room:" <> _, _payload, socket), do: {:ok, socket}

      def handle_in("say", payload, socket) do
        broadcast!(socket, "said", payload)
        {:reply, {:ok, payload}, socket}
      end
    end

    defmodule UserSocket do
      @moduledoc false
      use Phoenix.Socket
      channel("room:*", Channel)
      def connect(_params, socket, _info), do: {:ok, socket}
      def id(_socket), do: nil
    end

    defmodule Live do
      @moduledoc false
      use Phoenix.LiveView
      def mount(_params, _session, socket), do: {:ok, assign(socket, count: 0)}
      def render(assigns), do: ~H|<button phx-click="more"><%= @count %></button>|
      def handle_event("more", _params, socket), do: {:noreply, update(socket, :count, &(&1 + 1))}
    end

    defmodule Page do
      @moduledoc false
      use Phoenix.Controller, formats: []
      def show(conn, _params), do: text(conn, "a page")

      def slow(conn, _params) do
        send(Web.Test, {:request, self()})
        receive do: (:answer -> text(conn, "done"))
      end
    end

    defmodule Router do
      @moduledoc false
      use Phoenix.Router
      import Phoenix.LiveView.Router

      pipeline :session do
        plug(:fetch_session)
        plug(:fetch_live_flash)
      end

      get("/page", Page, :show)
      get("/slow", Page, :slow)

      scope "/" do
        pipe_through(:session)
        live("/live", Live)
      end
    end

    defmodule Endpoint do
      @moduledoc false
      use Phoenix.Endpoint, otp_app: :outrider_plug
      socket("/socket", UserSocket, websocket: true, drainer: [batch_size: 10, batch_interval: 10])

      @session [store: :cookie, key: "_key", signing_salt: "salt"]
      socket("/phx", Phoenix.LiveView.Socket)
      plug(Plug.Session, @session)
      plug(Router)
    end
  end
end
